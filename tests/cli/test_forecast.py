"""`restore-hub forecast`: a real forecast of the small pipeline, and the tables that it prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from restore_hub.cli.units import duration, size
from restore_hub.trial.compare_solvers import SolverResult, StageComparison
from restore_hub.trial.forecast import Forecast, StageForecast
from restore_hub.trial.stage_probe import Measurement
from support import LOWLIGHT
from support.commands import invoke, output

MIB = 1 << 20


@pytest.mark.long
def test_a_real_forecast_is_consistent_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], pairs: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def data() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in pairs.rglob("*")}

    before = data()
    used = [*overrides, "tracker={tracker: mlflow/tracking}", "stages.1.lower.steps=2", "validate_every=40"]
    used += ["stages.0.steps=", "stages.0.minutes=3"]
    done = invoke("forecast", LOWLIGHT, *(part for override in used for part in ("--set", override)), "--json")
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines() == ["measuring stage 1/2 joint", "measuring stage 2/2 ibgl"]
    assert not list(tmp_path.iterdir()), "no run folder, no mlflow.db"
    assert data() == before
    found = json.loads(done.stdout)
    joint, ibgl = found["stages"]
    assert joint["estimated"]
    assert (ibgl["solver"], ibgl["steps"], ibgl["measurements"]) == ("ibgl", 100, 3)
    assert (joint["measured"]["evaluations"], ibgl["measured"]["evaluations"]) == (1, 4)
    for stage in (joint, ibgl):
        measured = stage["measured"]
        assert 0 < measured["data_seconds"] < measured["step_seconds"]
        assert measured["picture_seconds"] > 0
        assert measured["pictures"] == 1
        assert 50 * MIB < measured["memory"] <= measured["peak"] <= found["memory"] < found["machine"]
        assert 0 < measured["weights_bytes"] < measured["state_bytes"] < found["checkpoints"] < found["free"]
    assert joint["steps"] > 100
    assert found["seconds"] == sum(stage["stepping"] + stage["measuring"] for stage in (joint, ibgl))


def _measured(**values: Any) -> Measurement:
    seconds = {"step_seconds": 0.0612, "data_seconds": 0.002, "picture_seconds": 1.0, "kept_seconds": 0.0}
    memory = {"memory": 832 * MIB, "peak": 1500 * MIB, "device_memory": 0, "device_peak": 0, "device_total": 0}
    found = {"evaluations": 7, "losses": {"loss/upper": 0.30151, "loss/lower": 0.25}, "pictures": 2.0}
    return Measurement(**{**seconds, **memory, **found, "weights_bytes": 1, "state_bytes": 3, **values})


def test_a_forecast_is_a_table_and_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = (
        StageForecast("joint", 2000, False, 3, 122.4, 6.0, True, _measured()),
        StageForecast("ibgl", 40, True, 0, 60.0, 0.0, False, _measured(device_memory=3 * MIB, device_total=MIB << 10)),
    )
    made = Forecast("n", stages, 188.4, 1500 * MIB, 24 << 30, 9 * MIB, 1 << 30, 42 * MIB, 1 << 40, ("too little",))
    fake = MagicMock(return_value=made)
    monkeypatch.setattr("restore_hub.trial.forecast.forecast", fake)
    shown = output("forecast", "x.yaml", "--set", "a=1", "--device", "cuda", "--runs", "there")
    assert shown.splitlines() == [
        "stage    steps     a step    for data  total     holdout  memory   with holdout",
        "1 joint  2000      0.0612 s  0.002 s   2.04 min  3 x 2 s  832 MiB  1.46 GiB",
        "2 ibgl   about 40  0.0612 s  0.002 s   60 s      -        3 MiB    -",
        "time    at most 3.14 min, including 6 s to measure the holdout; plus the start and the export",
        "memory  1.46 GiB of 24 GiB; plus a tracker and the export",
        "device  9 MiB of 1 GiB",
        "disk    42 MiB of 1 TiB free, for checkpoints",
        "warning: too little",
    ]
    given = {"overrides": ("a=1",), "plugins": (), "runs": Path("there"), "device": "cuda"}
    fake.assert_called_once_with(Path("x.yaml"), **given)


def test_a_comparison_is_a_table_and_a_line_for_each_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    results = (
        SolverResult("std/tbgl", _measured(evaluations=4), 0.5, ("without cap", "lower.steps=1")),
        SolverResult("mine/own", _measured(losses={}), 1.0),
        SolverResult("std/joint", refused="it takes one level"),
    )
    comparisons = (StageComparison(2, "mine/own", results), StageComparison(3, "std/ibgl", results))
    fake = MagicMock(return_value=comparisons)
    monkeypatch.setattr("restore_hub.trial.compare_solvers.compare_solvers", fake)
    first, second = output("forecast", "x.yaml", "--compare", "tbgl, mine/own,joint").split("\n\n")
    assert fake.call_args.args == (Path("x.yaml"), ["tbgl", "mine/own", "joint"])
    assert first.splitlines() == [
        "stage 2, now mine/own, losses of the third step from the first weights",
        "solver    a step    x mine/own  gradients  memory   F_upper  F_lower",
        "tbgl      0.0612 s  0.50        4          832 MiB  0.3015   0.25     without cap, lower.steps=1",
        "mine/own  0.0612 s  1.00        7          832 MiB  -        -",
        "joint: it takes one level",
    ]
    assert "x the fastest" in second
    as_json = json.loads(invoke("forecast", "x.yaml", "--compare", "tbgl", "--json").stdout)
    assert as_json[0]["results"][0]["changed"] == ["without cap", "lower.steps=1"]
    assert as_json[0]["results"][2]["measured"] is None


def test_compare_needs_names() -> None:
    assert "names of solvers" in output("forecast", "x.yaml", "--compare", ",", exit_code=2)


def test_durations_and_sizes() -> None:
    seconds = {0.0: "0 s", 0.06117: "0.0612 s", 119.6: "120 s", 120: "2 min", 7199: "120 min", 180000: "50 h"}
    assert {value: duration(value) for value in seconds} == seconds
    counts = {0: "0 bytes", 999: "999 bytes", 1536: "1.5 KiB", 1000 * MIB: "0.977 GiB", 2**60: "1048576 TiB"}
    assert {value: size(value) for value in counts} == counts
