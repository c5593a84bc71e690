"""Writes values, pictures and files of a run to its folder, from where they go to the tracker."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from restore_hub.contracts import Tracker
from restore_hub.photo.picture_writer import write_picture
from restore_hub.train.recording.folder import RunFolder, writing
from restore_hub.train.recording.tracker_queue import RunInfo, TrackerQueue
from restore_hub.train.recording.tracker_thread import TrackerThread

MARK_SECONDS = 1.0  # resolution of the times of values


class Recorder:
    """Writes to the run folder; the thread of a tracker, if there is one, reads from there.

    `events.jsonl` in the folder lists pictures and files, and now and then the time of a step.
    """

    def __init__(self, folder: RunFolder, tracker: Tracker | None) -> None:
        self.folder = folder
        self._tracker = tracker
        self._thread: TrackerThread | None = None
        self._pictures = threading.Lock()
        self._step = -1
        self._marked = -MARK_SECONDS

    def start(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Begin to send, or continue where an earlier process of this run left off.

        Raises:
            RestoreHubError: the tracker lacks something that waiting won't provide, or another process records this
                run.
        """
        if self._tracker:
            self._tracker.check()
            info = RunInfo(name, params, {**tags, "spec_sha256": spec_hash(params)})
            queue = TrackerQueue(self.folder.path, self._tracker, info, self._pictures)
            self._thread = TrackerThread(queue)

    def values(self, step: int, values: Mapping[str, float]) -> None:
        """Record scalars at a step, counted over all stages; steps never decrease.

        Raises:
            TrainingError: the run folder can't be written.
        """
        now = time.monotonic()
        if step > self._step and now - self._marked >= MARK_SECONDS:
            self.folder.append("events.jsonl", {"step": step, "time": round(time.time(), 3)})
            self._marked = now
        self._step = step
        self.folder.append("metrics.jsonl", {"step": step, **values})

    def holdout(self, step: int, each: Mapping[str, Mapping[str, float]]) -> None:
        """Append the metrics of each holdout picture to `holdout.jsonl` in the run folder.

        Raises:
            TrainingError: the run folder can't be written.
        """
        self.folder.append("holdout.jsonl", {"step": step, "pictures": each})

    def left_out(self, split: str, files: Sequence[Path], reason: str) -> None:
        """Append a sample that was left out to `left_out.jsonl` in the run folder."""
        self.folder.append("left_out.jsonl", {"split": split, "files": [str(file) for file in files], "reason": reason})

    def picture(self, name: str, image: NDArray[np.uint8], step: int) -> None:
        """Record a picture (H, W, 3); a tracker that lags behind gets only the newest picture of each name.

        Raises:
            TrainingError: the run folder can't be written.
        """
        with self._pictures:
            path = self.folder.pictures / f"{name}.png"
            with writing(path):
                write_picture(path, image.astype(np.float32) / 255.0)
            self.folder.append("events.jsonl", {"step": step, "picture": name})

    def artifact(self, path: Path, *, model: bool = False) -> None:
        """Record a file in the run folder; `model` marks the ONNX file that is the result of the run."""
        place = path.relative_to(self.folder.path).as_posix()
        self.folder.append("events.jsonl", {"step": self._step, "artifact": place, "model": model})

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> str:
        """Send what is left, for at most ten seconds; return where the run can be seen."""
        return self._thread.finish(status) if self._thread else ""


def spec_hash(resolved: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a resolved spec, whatever file it was read from."""
    content = {key: value for key, value in resolved.items() if key != "source"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
