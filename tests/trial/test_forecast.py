"""What a forecast computes from measured steps, and the error for a stage that can't be measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from restore_hub.errors import SpecError, TrainingError
from restore_hub.fresh_process import ProcessEndedError
from restore_hub.spec import Level, Spec, Stage, read_spec
from restore_hub.train.run import run
from restore_hub.trial.compare_solvers import SolverResult, compare_solvers, with_ratios
from restore_hub.trial.forecast import forecast, of_run, of_stage
from restore_hub.trial.probe_process import _error_of
from restore_hub.trial.stage_probe import Measurement
from support import LOWLIGHT, Capture, check, refused
from support.plugin_files import WritePlugin, network_plugin, through
from support.runs import journal

MIB = 1 << 20
MEASURED = Measurement(
    evaluations=1,
    step_seconds=0.5,
    data_seconds=0.125,
    losses={"loss": 0.25},
    picture_seconds=2.0,
    kept_seconds=0.25,
    pictures=4.0,
    memory=300 * MIB,
    peak=500 * MIB,
    device_memory=0,
    device_peak=0,
    device_total=0,
    weights_bytes=10 * MIB,
    state_bytes=30 * MIB,
)
ONCE = 4 * 2.0 + 3 * 0.25  # four pictures, three of them kept
SILENT = replace(MEASURED, picture_seconds=0.0, kept_seconds=0.0, pictures=0.0, peak=300 * MIB)


def _stage(**values: Any) -> Stage:
    return Stage(solver="joint", levels=[Level(blocks=["a"], objective="o", data="train")], **values)


def _spec(metrics: list[str]) -> Spec:
    return Spec.model_construct(name="n", metrics=metrics)


@pytest.mark.parametrize(
    ("every", "steps", "measurements"), [(None, 100, 1), (30, 100, 4), (50, 100, 2), (100, 100, 1), (1, 3, 3)]
)
def test_a_stage_of_steps(every: int | None, steps: int, measurements: int) -> None:
    """Measurement are every so many steps but the last, and the end."""
    found = of_stage(_stage(steps=steps), every, MEASURED)
    assert (found.steps, found.estimated, found.at_most) == (steps, False, False)
    assert found.measurements == measurements
    assert found.stepping == steps * 0.5
    assert found.measuring == measurements * ONCE


def test_a_stage_without_metrics_measures_nothing() -> None:
    found = of_stage(_stage(steps=100), 10, SILENT)
    assert (found.measurements, found.measuring, found.stepping) == (0, 0.0, 50.0)


def test_patience_makes_an_upper_bound() -> None:
    assert of_stage(_stage(steps=100, patience=2), 10, MEASURED).at_most


def test_a_stage_of_minutes_shares_them_between_steps_and_measurements() -> None:
    found = of_stage(_stage(minutes=1.0), None, MEASURED)
    assert (found.steps, found.estimated, found.measurements) == (120, True, 1)
    assert (found.stepping, found.measuring) == (60.0, ONCE)
    often = of_stage(_stage(minutes=1.0), 10, MEASURED)
    assert often.steps == 44, "60 s at 0.5 s, and 8.75 s after each ten"
    assert often.measurements == 5
    assert often.stepping == 60 - 4 * ONCE
    assert often.stepping + often.measuring == 60 + ONCE, "the end is measured after the minutes"


def test_a_run_is_the_sum_of_its_stages_and_its_checkpoints() -> None:
    larger = replace(MEASURED, peak=800 * MIB, state_bytes=50 * MIB)
    stages = [of_stage(_stage(steps=10), None, MEASURED), of_stage(_stage(steps=20), None, larger)]
    found = of_run(_spec(["psnr"]), stages, machine=1000 * MIB, free=141 * MIB)
    assert found.seconds == 15 + 2 * ONCE
    assert found.memory == 800 * MIB
    assert found.checkpoints == (2 + 2) * 10 * MIB + 2 * 50 * MIB
    assert found.warnings == ()
    quiet = of_run(_spec([]), [of_stage(_stage(steps=10), None, SILENT)], 1000 * MIB, 1000 * MIB)
    assert quiet.checkpoints == (1 + 1) * 10 * MIB + 2 * 30 * MIB, "no metrics, no best"


def test_warnings_name_what_is_too_small_and_what_to_change() -> None:
    stages = [of_stage(_stage(steps=10), None, MEASURED)]
    (memory, disk) = of_run(_spec(["psnr"]), stages, machine=520 * MIB, free=89 * MIB).warnings
    assert memory.startswith("stage 1 joint may run out of memory: ")
    assert "holdout" in memory
    assert "`crop`" not in memory, "crops don't matter to whole pictures"
    assert "--runs" in disk
    (steps,) = of_run(_spec([]), [of_stage(_stage(steps=10), None, SILENT)], 310 * MIB, 1000 * MIB).warnings
    assert "`crop`" in steps


def test_ratios_are_to_the_current_solver_or_else_to_the_fastest() -> None:
    slow, refused = replace(MEASURED, step_seconds=2.0), SolverResult("std/c", refused="no")
    results = [SolverResult("std/a", MEASURED), SolverResult("std/b", slow), refused]
    assert [result.ratio for result in with_ratios(results, "std/b")] == [0.25, 1.0, None]
    assert [result.ratio for result in with_ratios(results, "std/c")] == [1.0, 4.0, None]
    assert list(with_ratios([refused], "std/b")) == [refused]


@pytest.mark.long
def test_compared_solvers_see_the_steps_of_a_run(small: list[str], tmp_path: Path) -> None:
    """Without earlier stages to start from, a solver logs what a run logs; one that refuses is a result too."""
    stage = {**read_spec(LOWLIGHT, small).data["stages"][1], "steps": 3, "cap": 5.0}
    one = [*small, f"stages={json.dumps([stage])}", "metrics=[]", "export={}"]
    (comparison,) = compare_solvers(LOWLIGHT, ["tbgl", "ibgl", "joint"], overrides=one)
    assert (comparison.stage, comparison.current) == (1, "std/ibgl")
    tbgl, ibgl, joint = comparison.results
    assert tbgl.changed == ("without cap", "lower.steps=1")
    assert ibgl.changed == ()
    assert tbgl.measured is not None
    assert ibgl.measured is not None
    assert (tbgl.measured.evaluations, ibgl.measured.evaluations) == (4, 4)
    assert tbgl.ratio == tbgl.measured.step_seconds / ibgl.measured.step_seconds
    assert ibgl.ratio == 1
    assert joint.measured is None
    assert "joint" in joint.refused
    real = run(LOWLIGHT, overrides=one, out=tmp_path / "r")
    third = journal(real.folder)[2]
    assert ibgl.measured.losses == {name: third[name] for name in ("loss/upper", "loss/lower")}


@pytest.mark.parametrize(
    ("solvers", "code"), [(["ibgl", "tbgI"], "plugin.unknown-component"), (["joint"], "spec.solver-levels")]
)
def test_unknown_and_unsuitable_solvers_are_refused(small: list[str], solvers: list[str], code: str) -> None:
    with refused(code):
        compare_solvers(LOWLIGHT, solvers, overrides=small)


def test_a_spec_without_a_bilevel_stage_has_nothing_to_compare(small: list[str]) -> None:
    single = "stages=[{solver: joint, steps: 1, blocks: [generate], objective: fidelity, data: train}]"
    with refused("trial.no-bilevel-stage", LOWLIGHT.name, SpecError):
        compare_solvers(LOWLIGHT, ["ibgl"], overrides=[*small, single])


DEADLY = """
print("on its way")
if self.how == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if self.how == "allocate":
    torch.empty(1 << 50)
if self.how == "exit":
    print("out of luck", file=sys.stderr)
    os._exit(3)
raise KeyError("mine")
"""


@pytest.mark.parametrize(
    ("how", "code", "place", "facts"),
    [
        ("kill", "trial.killed", "stage 1/1 joint", {}),
        ("allocate", "train.out-of-memory", "stage 1/1 joint, step 1", {}),
        ("exit", "trial.failed", "stage 1/1 joint", {"cause": "out of luck"}),
        ("raise", "train.failed", "stage 1/1 joint, step 1", {"cause": "KeyError: 'mine'"}),
    ],
)
def test_a_stage_that_ends_its_process_is_one_error(
    small: list[str], write_plugin: WritePlugin, capfd: Capture, how: str, code: str, place: str, facts: Any
) -> None:
    stage = "stages=[{solver: joint, steps: 2, blocks: [generate, enhance], objective: fidelity, data: train}]"
    overrides, plugin = through(f"deadly/net, how: {how}"), write_plugin("deadly", network_plugin("", DEADLY))
    with refused(code, place, TrainingError, **facts):
        forecast(LOWLIGHT, overrides=[*small, *overrides, stage], plugins=[plugin])
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == "measuring stage 1/1 joint\n"


@pytest.mark.parametrize(
    ("status", "code", "facts"),
    [(-9, "killed", {}), (137, "killed", {}), (-11, "signal", {"signal": 11}), (3, "failed", {"cause": "status 3"})],
)
def test_the_way_a_process_ended_is_an_error(status: int, code: str, facts: dict[str, Any]) -> None:
    check(_error_of(ProcessEndedError(status, "\n"), "stage 1"), f"trial.{code}", "stage 1", **facts)


def test_an_error_of_the_data_with_its_traceback(
    small: list[str], monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.setenv("RESTORE_HUB_TRACEBACK", "1")
    with pytest.raises(SpecError) as caught:
        forecast(LOWLIGHT, overrides=[*small, "data.train.root=nowhere"])
    assert "data.train" in caught.value.place
    assert "nowhere" in str(caught.value)
    assert "Traceback (most recent call last)" in capfd.readouterr().err
