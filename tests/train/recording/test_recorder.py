"""The run folder as the tracker's queue: what is sent, once, also over a resume."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restore_hub.train.recording import recorder, tracker_queue
from restore_hub.train.recording.folder import RunFolder
from restore_hub.train.recording.recorder import Recorder, spec_hash
from restore_hub.train.recording.tracker_queue import RunInfo, TrackerQueue

INFO = RunInfo("night", {"seed": 1}, {"revision": "abc"})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "r")
    folder.pictures.mkdir(parents=True)
    folder.export.mkdir()
    return folder


def _sent(folder: RunFolder, tracker: Any, status: Any = "FINISHED") -> bool:
    """Send what is pending; return whether there was any."""
    box = TrackerQueue(folder.path, tracker, INFO, threading.Lock())
    try:
        pending = box.pending(status)
        if pending:
            box.send(status)
        return pending
    finally:
        box.close()


def _steps(tracker: Any, name: str = "loss") -> list[int]:
    return [scalar.step for scalar in tracker.scalars if scalar.name == name]


def test_a_whole_run_is_sent_from_its_folder_and_the_second_time_nothing(folder: RunFolder, tracker: Any) -> None:
    written = Recorder(folder, None)
    written.start(*INFO)
    for step in range(1, 2502):
        written.values(step, {"loss": float(step), "rest": float("nan")})
    for level, step in ((10, 1000), (20, 2501)):
        written.picture("a", np.full((4, 6, 3), level, np.uint8), step)
    for name in ("chain.onnx", "generate.onnx"):
        (folder.export / name).write_bytes(name.encode())
        written.artifact(folder.export / name, model=name == "chain.onnx")
    assert written.finish("FINISHED") == ""

    assert _sent(folder, tracker)
    assert [scalar.value for scalar in tracker.scalars if scalar.name == "loss"] == [float(s) for s in range(1, 2502)]
    assert all(np.isnan(scalar.value) for scalar in tracker.scalars if scalar.name == "rest")
    assert tracker.pictures == [("a", 20, 2501)], "of a picture's name the newest is left"
    assert tracker.artifacts == [("chain.onnx", True), ("generate.onnx", False)]
    assert tracker.calls.count("log") > 5
    calls = list(tracker.calls)
    assert not _sent(folder, tracker)
    assert tracker.calls == calls
    (folder.export / "chain.onnx").write_bytes(b"exported anew")
    assert _sent(folder, tracker)
    assert tracker.calls == [*calls, "start", "artifact", "finish"]


def test_a_resumed_run_goes_on_in_the_same_run_and_sends_no_step_twice(folder: RunFolder, tracker: Any) -> None:
    first = Recorder(folder, None)
    for step in range(1, 31):
        first.values(step, {"loss": 1.0})
    assert _sent(folder, tracker, "KILLED")
    lines = (folder.path / "metrics.jsonl").read_text().splitlines(keepends=True)
    os.truncate(folder.path / "metrics.jsonl", sum(len(line) for line in lines[:20]))

    second = Recorder(folder, tracker)
    second.start(*INFO)
    for step in range(21, 41):
        second.values(step, {"loss": 2.25})  # of another length, as where it goes on with other threads
    second.values(30 + 10, {"holdout/psnr": 20.0})
    second.finish("FINISHED")
    assert _steps(tracker) == list(range(1, 41))
    assert _steps(tracker, "holdout/psnr") == [40]
    assert [call for call in tracker.calls if call in ("start", "params", "finish")] == [
        "start",
        "params",
        "finish",
        "start",
        "finish",
    ]
    assert tracker.status == "FINISHED"


def test_values_of_one_step_that_come_apart_are_all_sent(folder: RunFolder, tracker: Any) -> None:
    written = Recorder(folder, None)
    written.values(7, {"loss": 1.0})
    _sent(folder, tracker, "KILLED")
    written.values(7, {"holdout/psnr": 2.0})
    _sent(folder, tracker, "KILLED")
    assert [(s.name, s.step) for s in tracker.scalars] == [("loss", 7), ("holdout/psnr", 7)]


def test_a_failed_call_repeats_with_its_times(folder: RunFolder, tracker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MARK_SECONDS", 0.0)
    monkeypatch.setattr(tracker_queue, "BATCH", 4)
    clock = iter(range(1000, 2000))
    monkeypatch.setattr(recorder.time, "time", lambda: next(clock))
    written = Recorder(folder, None)
    for step in range(1, 11):
        written.values(step, {"loss": 1.0})
    lost: list[Any] = []

    def log_but_the_answer_is_lost(scalars: Any) -> None:
        lost.append(list(scalars))
        if len(lost) == 2:
            raise ConnectionError

    monkeypatch.setattr(tracker, "log", log_but_the_answer_is_lost)
    with pytest.raises(ConnectionError):
        _sent(folder, tracker)
    assert _sent(folder, tracker)
    assert lost[1] == lost[2], "the store sees that they are the same"
    assert [scalar.step for batch in (lost[0], *lost[2:]) for scalar in batch] == list(range(1, 11))
    assert [scalar.time for scalar in lost[0]] == [1000, 1001, 1002, 1003]


def test_a_store_that_lost_the_run_gets_it_all(
    folder: RunFolder, tracker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Recorder(folder, None)
    written.values(1, {"loss": 1.0})
    _sent(folder, tracker, "KILLED")
    written.values(2, {"loss": 1.0})
    monkeypatch.setattr(tracker, "start", lambda *_: "run 2")
    _sent(folder, tracker)
    assert _steps(tracker) == [1, 1, 2]
    assert tracker.calls.count("params") == 2


def test_each_store_is_remembered_by_itself(folder: RunFolder, tracker: Any) -> None:
    written = Recorder(folder, None)
    written.values(1, {"loss": 1.0})
    _sent(folder, tracker)
    tracker.store = "other"
    assert _sent(folder, tracker)
    assert _steps(tracker) == [1, 1]
    assert set(json.loads((folder.path / "tracker.json").read_text())) == {"fake", "other"}


def test_a_line_that_is_half_written_waits(folder: RunFolder, tracker: Any) -> None:
    (folder.path / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "lo')
    _sent(folder, tracker, "KILLED")
    assert _steps(tracker) == [1]


def test_the_hash_of_a_spec_does_not_depend_on_its_file() -> None:
    assert spec_hash({"spec": {"seed": 1}, "source": "a.yaml"}) == spec_hash({"source": "b.yaml", "spec": {"seed": 1}})
    assert spec_hash({"spec": {"seed": 1}}) != spec_hash({"spec": {"seed": 2}})
