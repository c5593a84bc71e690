"""What a tracker doesn't have of a run yet. The run folder is the queue: nothing waits in memory."""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from filelock import FileLock, Timeout

from restore_hub.contracts import Scalar, Tracker
from restore_hub.errors import TrainingError, reason_of
from restore_hub.files import file_hash, write_file
from restore_hub.photo.pictures import read_picture
from restore_hub.train.recording.folder import writing
from restore_hub.train.recording.jsonl_tail import JsonlTail

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
BATCH = 1000  # scalars in one call
NOTHING: Mapping[str, Any] = {"run": "", "params": False, "step": -1, "names": [], "files": {}, "status": ""}


class RunInfo(NamedTuple):
    """The name of a run, its resolved spec, and its tags."""

    name: str
    params: Mapping[str, Any]
    tags: Mapping[str, str]


class TrackerQueue:
    """Reads a run folder and sends a tracker what it lacks; `tracker.json` in the folder notes what was sent.

    For each store `tracker.json` holds the run's id, the last step that was sent with the names of its values, the step
    of each picture and the hash of each file. So a value is sent once even if a run is stopped, rewound and resumed.

    Args:
        folder: the run folder.
        tracker: where to send it.
        info: what the run is.
        lock: held while a picture is written or read.

    Raises:
        TrainingError: another process sends from this folder, or it can't be written.
    """

    def __init__(self, folder: Path, tracker: Tracker, info: RunInfo, lock: threading.Lock) -> None:
        self.folder = folder
        self._tracker, self._info, self._pictures = tracker, info, lock
        self._only = FileLock(folder / ".tracker.lock", thread_local=False)
        try:
            self._only.acquire(timeout=0)
        except Timeout:
            raise TrainingError("train.tracker-busy", folder) from None
        except OSError as error:
            raise TrainingError("train.tracker-notes", folder, cause=reason_of(error)) from error
        self._stores = _read_json(folder / "tracker.json")
        self._sent: dict[str, Any] = {**NOTHING, **self._stores.get(tracker.store, {})}
        self._started = self._closed = False
        self._read_anew()

    def pending(self, status: Status) -> bool:
        """Return whether the tracker lacks anything or shows another status."""
        if not self._sent["params"] or self._sent["status"] != status:
            return True
        self._read_anew()
        found = False
        while not found and (lines := self._metrics.lines()):
            found = bool(self._unsent(lines))
            self._metrics.done()
        self._read_events()
        found = found or any(self._lacks(place, event) for place, event in self._files.items())
        self._read_anew()
        return found

    def send(self, status: Status) -> str:
        """Send all that is in the folder now; return where a run can be seen once it has ended.

        Raises:
            Exception: whatever the tracker raises. What was sent before that is noted.
        """
        try:
            if not self._started:
                self._start()
            if not self._sent["params"]:
                self._tracker.params(self._info.params)
                self._note(params=True)
            self._send_scalars()
            self._send_files()
            if status == "RUNNING":
                return ""
            where = self._tracker.finish(status)
            self._note(status=status)
            return where
        except Exception:
            self._started = False
            raise

    def close(self) -> None:
        """Send nothing more, even if a hanging call returns later."""
        self._closed = True
        self._only.release()

    def _start(self) -> None:
        run = self._tracker.start(self._info.name, self._info.tags, self._sent["run"])
        if run != self._sent["run"]:  # a new run, or the store lost it
            self._sent = {**NOTHING, "run": run}
        self._read_anew()
        self._note(status="RUNNING")
        self._started = True

    def _read_anew(self) -> None:
        self._metrics, self._events = JsonlTail(self.folder / "metrics.jsonl"), JsonlTail(self.folder / "events.jsonl")
        self._marks: list[tuple[int, float]] = []
        self._files: dict[str, dict[str, Any]] = {}

    def _send_scalars(self) -> None:
        while lines := self._metrics.lines():
            self._read_events()  # after the values, so that the times of all of them are known
            scalars = self._unsent(lines)
            for first in range(0, len(scalars), BATCH):
                self._check_open()
                batch = scalars[first : first + BATCH]
                self._tracker.log(batch)
                step = batch[-1].step
                before = self._sent["names"] if step == self._sent["step"] else []
                self._note(step=step, names=[*before, *(scalar.name for scalar in batch if scalar.step == step)])
            self._metrics.done()

    def _unsent(self, lines: list[dict[str, Any]]) -> list[Scalar]:
        last, names = self._sent["step"], set(self._sent["names"])
        return [
            Scalar(name, value, line["step"], self._time(line["step"]))
            for line in lines
            for name, value in line.items()
            if name != "step" and (line["step"] > last or (line["step"] == last and name not in names))
        ]

    def _time(self, step: int) -> float:
        """Return the last known time at or before a step, always the same, so that stores recognise duplicates."""
        at = bisect_right(self._marks, step, key=lambda mark: mark[0])
        return self._marks[at - 1][1] if at else 0.0

    def _read_events(self) -> None:
        while lines := self._events.lines():
            for line in lines:
                if "picture" in line:
                    self._files[f"pictures/{line['picture']}.png"] = line
                elif "artifact" in line:
                    self._files[line["artifact"]] = line
                else:
                    while self._marks and self._marks[-1][0] >= line["step"]:  # the run was rewound
                        self._marks.pop()
                    # Stores show values in order of time, and a clock may be set back.
                    before = self._marks[-1][1] if self._marks else 0.0
                    self._marks.append((line["step"], max(line["time"], before)))
            self._events.done()

    def _lacks(self, place: str, event: Mapping[str, Any]) -> bool:
        sent = self._sent["files"].get(place)
        path = self.folder / place
        if "picture" in event:
            return path.is_file() and event["step"] > (-1 if sent is None else sent)
        return path.is_file() and sent != file_hash(path)

    def _send_files(self) -> None:
        self._read_events()
        for place in list(self._files):
            self._check_open()
            if self._lacks(place, self._files[place]):
                send = self._send_picture if "picture" in self._files[place] else self._send_artifact
                self._note(files={**self._sent["files"], place: send(place)})
            del self._files[place]

    def _send_picture(self, place: str) -> int:
        with self._pictures:
            self._read_events()  # the file may be newer than the event that was read
            event = self._files[place]
            image = read_picture(self.folder / place).pixels
        self._tracker.picture(event["picture"], np.rint(image * 255).astype(np.uint8), event["step"])
        return int(event["step"])

    def _send_artifact(self, place: str) -> str:
        path = self.folder / place
        hashed = file_hash(path)
        self._tracker.artifact(path, model=self._files[place].get("model", False))
        return hashed

    def _note(self, **sent: Any) -> None:
        self._check_open()
        self._sent.update(sent)
        self._stores[self._tracker.store] = self._sent
        path = self.folder / "tracker.json"
        with writing(path):
            write_file(path, (json.dumps(self._stores, indent=2) + "\n").encode())

    def _check_open(self) -> None:
        if self._closed:
            raise TrainingError("train.tracker-closed", self.folder)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
