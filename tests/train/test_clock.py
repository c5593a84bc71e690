"""A wall clock that jumps, as where it is set right in mid-run: nothing that a run does depends on it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from restore_hub import run
from restore_hub.report import read_runs, write_comparison
from restore_hub.train import loop
from restore_hub.train.recording import find_run, recorder, tracker_thread
from restore_hub.train.recording.find_run import create_run_folder, find_unfinished
from restore_hub.train.recording.folder import RunFolder
from restore_hub.train.recording.recorder import Recorder
from support import LOWLIGHT

DAY, YEAR = 86_400.0, 365 * 86_400.0
STEADY = ("export={}", "metrics={psnr: {metric: psnr, inputs: {prediction: enhanced, target: data.rgb}}}")


class Clock:
    """A wall clock that is right up to its first jump."""

    def __init__(self) -> None:
        self._real, self.off = time.time, 0.0

    def __call__(self) -> float:
        return self._real() + self.off


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "time", made)
    monkeypatch.setattr(recorder, "MARK_SECONDS", 0.0)  # every step has its time
    return made


@pytest.fixture
def jumping(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that step 2 sets back a day, step 4 forward a year, and step 8 right."""
    values = Recorder.values

    def jump(self: Recorder, step: int, given: Any) -> None:
        clock.off = 0.0 if step == 1 or step >= 8 else -DAY if step < 4 else YEAR
        values(self, step, given)

    monkeypatch.setattr(Recorder, "values", jump)


@pytest.mark.usefixtures("jumping")
@pytest.mark.parametrize(("seconds", "saves"), [(0, 7), (3600, 2)])
def test_steps_and_checkpoints_are_counted_by_another_clock(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int, saves: int
) -> None:
    saved = []
    save = loop.save_state
    monkeypatch.setattr(loop, "save_state", lambda *given: (saved.append(given), save(*given)))
    begun = time.time()
    result = run(LOWLIGHT, overrides=[*small, *STEADY, f"checkpoint_seconds={seconds}"], out=tmp_path / "r")
    assert [stage.steps for stage in result.stages] == [3, 2]
    assert len(saved) == saves, "one for each step where there is no pause, and one for each stage"
    lines = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 3, 4, 5, 5]
    events = [json.loads(line) for line in (tmp_path / "r" / "events.jsonl").read_text().splitlines()]
    marks = [event["time"] - begun for event in events if "time" in event]
    assert marks[1] < -DAY / 2, "the clock did jump"
    assert marks[3] > YEAR / 2
    assert b"finished" in (tmp_path / "r" / "report.html").read_bytes()
    (tmp_path / "other").mkdir()
    for name in ("spec.json", "metrics.jsonl"):
        (tmp_path / "other" / name).write_bytes((tmp_path / "r" / name).read_bytes())
    write_comparison(read_runs([tmp_path / "r", tmp_path / "other"]), tmp_path / "compare.html")
    assert (tmp_path / "compare.html").stat().st_size


@pytest.mark.usefixtures("jumping")
def test_minutes_are_counted_by_another_clock(small: list[str], tmp_path: Path) -> None:
    limit = ("stages.0.steps=", "stages.0.minutes=0.02")
    result = run(LOWLIGHT, overrides=[*small, *STEADY, *limit], out=tmp_path / "r")
    assert 1.2 <= result.stages[0].seconds < DAY


@pytest.mark.usefixtures("jumping")
def test_a_tracker_gets_every_value_once_and_in_the_order_of_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow, of the extra `train`, is not installed")
    from restore_hub_mlflow.tracking import Mlflow

    monkeypatch.setattr(tracker_thread, "EVERY_SECONDS", 0.01)
    monkeypatch.setattr(tracker_thread, "FINISH_SECONDS", 60.0)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    place = RunFolder(tmp_path / "r")
    place.path.mkdir()
    for steps, status in ((range(1, 8), "KILLED"), (range(8, 13), "FINISHED")):
        written = Recorder(place, Mlflow(folder=tmp_path))
        written.start("jumping", {"a": 1}, {})
        for step in steps:
            written.values(step, {"loss": 1 / step})
        written.finish(status)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("restore_hub").experiment_id])
    history = client.get_metric_history(found.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(step, 1 / step) for step in range(1, 13)]


def test_the_run_that_ran_last_is_gone_on_with_whatever_the_clock_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find_run.time, "strftime", lambda _: "20260101-000000")  # all begin in the same second
    runs = [create_run_folder(tmp_path, "night") for _ in range(3)]
    assert len({one.path for one in runs}) == 3
    for one, year in zip(runs, (2050, 1990, 2020), strict=True):
        one.write_json("spec.json", {"spec": {"seed": 0}})
        os.utime(one.path, ((year - 1970) * YEAR,) * 2)

    def newest() -> Path:
        found = find_unfinished(tmp_path, "night", {"spec": {"seed": 0}}, None)
        assert found is not None
        return found.path

    assert newest() == runs[2].path
    find_unfinished(tmp_path, "night", {"spec": {"seed": 0}}, runs[0].path)
    assert newest() == runs[0].path, "it was gone on with after the others"
    runs[0].write_status("FINISHED")
    assert newest() == runs[2].path
