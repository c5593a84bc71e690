"""The graph of one file on one device, and a second session of it for large pictures."""

from __future__ import annotations

import threading
from pathlib import Path

import onnxruntime

from restore_hub.errors import ModelFileError
from restore_hub.files import file_hash
from restore_hub.model.session import open_session


class Graph:
    """A graph that onnxruntime runs.

    Attributes:
        path: the file it was read from.
        session: the session that keeps its memory from run to run, which is faster.
        device: where it runs.
        sha256: hash of the file as it was read.
    """

    def __init__(self, path: Path, session: onnxruntime.InferenceSession, device: str, sha256: str) -> None:
        self.path = path
        self.session = session
        self.device = device
        self.sha256 = sha256
        self._second: onnxruntime.InferenceSession | None = None
        self._tried = False
        self._lock = threading.Lock()

    def frugal_session(self) -> onnxruntime.InferenceSession | None:
        """Return a session of the same weights that keeps no memory from run to run.

        It is made on first use, from the file: a session made from bytes holds them as long as it lives, and the
        forecast of memory doesn't count them. The hash is checked on both sides of reading, so no other weights run.

        Returns:
            `None` when the file is gone or has changed; `session` then does the work, with more memory.
        """
        with self._lock:
            if not self._tried:
                self._tried = True
                self._second = self._reopen()
            return self._second

    def _reopen(self) -> onnxruntime.InferenceSession | None:
        try:
            if file_hash(self.path) != self.sha256:
                return None  # not even opened: it may name files anywhere
            session = open_session(self.path, self.device, arena=False)
            return session if file_hash(self.path) == self.sha256 else None
        except (OSError, ModelFileError):
            return None


def open_graph(path: Path, device: str, sha256: str, *, arena: bool = True) -> Graph:
    """Start the graph of a file whose bytes were scanned before.

    Args:
        path: the ONNX file.
        device: a key of `restore_hub.model.devices.PROVIDERS`.
        sha256: hash of the bytes that were scanned.
        arena: keep memory from run to run.

    Raises:
        ModelFileError: as `open_session`, or the file changed since the scan.
    """
    session = open_session(path, device, arena=arena)
    try:
        unchanged = file_hash(path) == sha256
    except OSError:
        unchanged = False
    if not unchanged:
        raise ModelFileError("model.changed", path)
    return Graph(path, session, device, sha256)
