"""The folder of a run: where its files are, each written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import torch

from restore_hub.errors import DataError, TrainingError, reason_of
from restore_hub.files import whole_file

JOURNALS = ("metrics.jsonl", "holdout.jsonl", "left_out.jsonl")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths inside the folder of one run."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Weights: `stage-N.pt` from each stage's end, `last.pt`, and `best.pt` if there are metrics.

        `state.pt` holds all that an unfinished run needs to resume.
        """
        return self.path / "checkpoints"

    @property
    def export(self) -> Path:
        """ONNX files."""
        return self.path / "export"

    @property
    def pictures(self) -> Path:
        """Holdout pictures, `<index>-<stem>-input`, `-output` and `-reference`."""
        return self.path / "pictures"

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other processes from running in this folder.

        Raises:
            TrainingError: another process is running there, or the folder can't be written.
        """
        lock = filelock.FileLock(self.path / ".run.lock")
        with writing(self.path):
            try:
                lock.acquire(blocking=False)
            except filelock.Timeout:
                raise TrainingError("train.folder-busy", self.path) from None
        try:
            yield
        finally:
            lock.release()

    def write_json(self, name: str, value: Any) -> Path:
        """Write a JSON file whole or not at all."""
        return self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file whole or not at all.

        Raises:
            TrainingError: it can't be written; an older file is left as it was.
        """
        path = self.path / name
        with writing(path), _whole(path) as place:
            place.write_bytes(text.encode())
        return path

    def append(self, name: str, line: Mapping[str, Any]) -> None:
        """Append one line of JSON to a file that only grows.

        Raises:
            TrainingError: it can't be written.
        """
        path = self.path / name
        with writing(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def save_weights(self, name: str, blocks: torch.nn.ModuleDict, about: Mapping[str, Any]) -> Path:
        """Save the state of every block, with plain facts about it, whole or not at all."""
        state = {block: module.state_dict() for block, module in blocks.items()}
        return self.save(name, {"blocks": state, "about": dict(about)})

    def save(self, name: str, content: Mapping[str, Any]) -> Path:
        """Write `checkpoints/<name>.pt` whole or not at all.

        Raises:
            TrainingError: it can't be written; an older file is left as it was.
        """
        path = self.checkpoints / f"{name}.pt"
        # To an open file: to a path, torch hides why it can't write.
        with writing(path), _whole(path) as place, place.open("wb") as file:
            torch.save(dict(content), file)
        return path

    def journals(self) -> dict[str, int]:
        """Return the lengths of the files that only grow, once that much of them is on the disk."""
        lengths = {}
        for name in JOURNALS:
            if (self.path / name).exists():
                with writing(self.path / name), (self.path / name).open("ab") as file:
                    os.fsync(file.fileno())
                    lengths[name] = file.tell()
        return lengths

    def rewind(self, journals: Mapping[str, int]) -> None:
        """Cut the files that only grow to earlier lengths, and delete those without one.

        `events.jsonl` keeps its lines, because the tracker may have had them, except for a half-written one.

        Raises:
            TrainingError: they can't be written.
        """
        with writing(self.path):
            for name in JOURNALS:
                path = self.path / name
                if name in journals:
                    os.truncate(path, journals[name])
                else:
                    path.unlink(missing_ok=True)
            events = self.path / "events.jsonl"
            if events.exists():
                os.truncate(events, events.read_bytes().rfind(b"\n") + 1)

    def read_status(self) -> str:
        """Return `FINISHED`, `FAILED`, `KILLED`, or `RUNNING`, which it also is after it ended abruptly."""
        try:
            return str(json.loads((self.path / "status.json").read_text(encoding="utf-8"))["status"])
        except (OSError, ValueError, KeyError, TypeError):
            return "RUNNING"

    def write_status(self, status: str) -> None:
        """Write the status to `status.json`."""
        self.write_json("status.json", {"status": status})


class OtherFolder(RunFolder):
    """The folder of a run for all of its processes except the first: they write nothing."""

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Leave the lock to the first process."""
        yield

    def write_text(self, name: str, text: str) -> Path:  # noqa: ARG002
        """Write nothing."""
        return self.path / name

    def append(self, name: str, line: Mapping[str, Any]) -> None:
        """Write nothing."""

    def save(self, name: str, content: Mapping[str, Any]) -> Path:  # noqa: ARG002
        """Write nothing."""
        return self.checkpoints / f"{name}.pt"

    def journals(self) -> dict[str, int]:
        """Return nothing."""
        return {}

    def rewind(self, journals: Mapping[str, int]) -> None:
        """Cut nothing."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise errors of the system as one line that says what can't be written, and why.

    Raises:
        TrainingError: an error of the system, or one that stands for it.
    """
    try:
        yield
    except (OSError, RuntimeError, DataError) as error:
        # On a full disk torch's writer raises a RuntimeError of its own while it handles the system's.
        cause = error if isinstance(error, OSError) else error.__context__
        reason = reason_of(cause if isinstance(cause, OSError) else error, limit=200)
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TrainingError("train.disk-full", path, cause=reason) from error
        raise TrainingError("train.cannot-write", path, cause=reason) from error


def _whole(path: Path) -> contextlib.AbstractContextManager[Path]:
    """Write a file whole or not at all; its temporary name is always the same, so a kill leaves one at most."""
    return whole_file(path, path.with_name(f"{path.name}.part"), sync=True)
