"""A tracker that fails, hangs, dies or is full: training doesn't wait, and every value arrives once it's back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from restore_hub.errors import MissingExtraError
from restore_hub.train.recording import tracker_thread
from restore_hub.train.recording.folder import RunFolder
from restore_hub.train.recording.recorder import Recorder
from restore_hub.train.recording.tracker_queue import RunInfo, TrackerQueue
from support import Capture, refused

INFO = RunInfo("night", {"seed": 1}, {})
STEPS = 1000
LONG = 20.0  # seconds; what a test waits before it fails, never what it takes


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EVERY_SECONDS", "FIRST_PAUSE", "LONGEST_PAUSE"):
        monkeypatch.setattr(tracker_thread, name, 0.005)
    monkeypatch.setattr(tracker_thread, "FINISH_SECONDS", LONG)


@pytest.fixture
def recorder(tracker: Any, tmp_path: Path) -> Recorder:
    folder = RunFolder(tmp_path / "r")
    folder.pictures.mkdir(parents=True)
    return Recorder(folder, tracker)


def _train(recorder: Recorder, first: int = 1, last: int = STEPS) -> None:
    for step in range(first, last + 1):
        recorder.values(step, {"loss": 1 / step})


def _expected(last: int = STEPS) -> list[tuple[str, int, float]]:
    return [("loss", step, 1 / step) for step in range(1, last + 1)]


def _got(tracker: Any) -> list[tuple[str, int, float]]:
    return [(scalar.name, scalar.step, scalar.value) for scalar in tracker.scalars]


class _Fails:
    """Raises while it is `down`, but in `check`; `tried` is set by the first call that failed."""

    def __init__(self, calls: int | None = None) -> None:
        self.left, self.down, self.tried = calls, True, threading.Event()

    def __call__(self, method: str) -> None:
        if method == "check" or not self.down:
            return
        if self.left is not None:
            self.left -= 1
            self.down = self.left > 0
        self.tried.set()
        raise ConnectionError("no route")


def test_a_tracker_that_fails_at_first_gets_everything_once(recorder: Recorder, tracker: Any, capsys: Capture) -> None:
    tracker.before = fails = _Fails(5)
    recorder.start(*INFO)
    _train(recorder)
    assert fails.tried.wait(LONG)
    assert recorder.finish("FINISHED") == "seen there"
    assert _got(tracker) == _expected()
    assert tracker.status == "FINISHED"
    assert tracker.calls.count("params") == 1
    unreachable, back = capsys.readouterr().err.splitlines()
    assert unreachable.startswith("the tracker is unreachable (ConnectionError: no route)")
    assert back.startswith("the tracker is back")


@pytest.mark.parametrize("method", ["start", "params", "log"])
def test_training_does_not_wait_for_a_call_that_hangs(
    recorder: Recorder, tracker: Any, method: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker_thread, "SLOW_SECONDS", 0.01)
    hangs, release = _hang(tracker, method)
    recorder.start(*INFO)
    recorder.values(1, {"loss": 1.0})
    assert hangs.wait(LONG)
    _train(recorder, first=2)  # ends although the tracker's call does not
    assert not release.is_set()
    assert tracker.scalars == []
    _until(lambda: "unreachable (no answer)" in capsys.readouterr().err)
    release.set()
    assert recorder.finish("FINISHED") == "seen there"
    assert _got(tracker) == _expected()


def test_a_call_that_hangs_and_then_fails_says_why(
    recorder: Recorder, tracker: Any, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker_thread, "SLOW_SECONDS", 0.01)
    hangs, release = _hang(tracker, "start")
    recorder.start(*INFO)
    assert hangs.wait(LONG)
    _until(lambda: "unreachable (no answer)" in capsys.readouterr().err)
    tracker.before = _Fails()
    release.set()
    recorder.values(1, {"loss": 1.0})
    _until(lambda: "unreachable (ConnectionError: no route)" in capsys.readouterr().err)
    tracker.before = str
    recorder.finish("FINISHED")


def test_a_tracker_that_dies_in_mid_run_gets_the_rest_when_it_is_back(recorder: Recorder, tracker: Any) -> None:
    recorder.start(*INFO)
    _train(recorder, last=400)
    _until(lambda: len(tracker.scalars) == 400)
    tracker.before = fails = _Fails()
    _train(recorder, first=401, last=700)
    assert fails.tried.wait(LONG)
    fails.down = False
    _train(recorder, first=701)
    recorder.finish("FINISHED")
    assert _got(tracker) == _expected()
    assert tracker.calls.count("start") >= 2, "the run is opened again after a failure"


def test_a_full_store(recorder: Recorder, tracker: Any, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker_thread, "FINISH_SECONDS", 0.05)
    tracker.before = fails = _Fails()
    recorder.start(*INFO)
    _train(recorder)
    assert fails.tried.wait(LONG)
    assert recorder.finish("FAILED") == ""
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "restore-hub track " in said[1]
    for thread in threading.enumerate():
        if thread.name == "tracker":
            thread.join(LONG)  # a try that was under way when the run gave up
    fails.down = False
    for _ in range(2):
        outbox = TrackerQueue(recorder.folder.path, tracker, INFO, threading.Lock())
        if outbox.pending("FAILED"):
            outbox.send("FAILED")
        outbox.close()
        assert _got(tracker) == _expected()
    assert tracker.calls.count("start") == 1, "the second time nothing is sent"


def test_finish_leaves_a_call_that_hangs(recorder: Recorder, tracker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker_thread, "FINISH_SECONDS", 0.05)
    hangs, release = _hang(tracker, "log")
    recorder.start(*INFO)
    recorder.values(1, {"loss": 1.0})
    assert hangs.wait(LONG)
    before = (recorder.folder.path / "tracker.json").read_bytes()
    assert recorder.finish("KILLED") == ""
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "tracker"]
    assert thread.daemon
    release.set()
    thread.join(LONG)
    assert not thread.is_alive()
    assert (recorder.folder.path / "tracker.json").read_bytes() == before
    assert tracker.status == "RUNNING"


def test_a_run_that_is_stopped_says_so(recorder: Recorder, tracker: Any) -> None:
    recorder.start(*INFO)
    _train(recorder, last=3)
    recorder.finish("KILLED")
    assert _got(tracker) == _expected(3)
    assert tracker.status == "KILLED"
    assert json.loads((recorder.folder.path / "tracker.json").read_text())["fake"]["run"] == "run 1"


def test_what_no_waiting_mends_is_an_error_at_once(recorder: Recorder, tracker: Any) -> None:
    def broken(_: str) -> None:
        raise MissingExtraError("mine.missing", what="not installed")

    tracker.before = broken
    with pytest.raises(MissingExtraError):
        recorder.start(*INFO)
    assert recorder.finish("FAILED") == ""


def test_only_one_process_sends_from_a_folder(recorder: Recorder, tracker: Any) -> None:
    recorder.start(*INFO)
    with refused("train.tracker-busy", recorder.folder.path):
        TrackerQueue(recorder.folder.path, tracker, INFO, threading.Lock())
    recorder.finish("FINISHED")
    TrackerQueue(recorder.folder.path, tracker, INFO, threading.Lock()).close()


def _hang(tracker: Any, method: str) -> tuple[threading.Event, threading.Event]:
    """Make one method wait; return what it sets when it is called, and what lets it go on."""
    hangs, release = threading.Event(), threading.Event()

    def before(called: str) -> None:
        if called == method:
            hangs.set()
            assert release.wait(LONG)

    tracker.before = before
    return hangs, release


def _until(holds: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(LONG / 0.005)):
        if holds():
            return
        pause.wait(0.005)
    pytest.fail("it never came to pass")
