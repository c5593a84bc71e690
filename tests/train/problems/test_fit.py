"""What a stage is made of, found not to fit before the first stage begins: by `check`, and by a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from restore_hub import run
from restore_hub.bilevel.solvers import Alternating
from restore_hub.cli import group
from restore_hub.errors import BilevelError, SpecError, TrainingError
from restore_hub.plan import Plan, make_plan
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from restore_hub.train.problems.fit import check_fit
from support import PIPELINES, refused
from support.runs import sets

RAW = PIPELINES / "raw_lowlight.yaml"
CLEANING = PIPELINES / "hyper_cleaning.yaml"
CLIPPED = "stages.1.lower.clip=1"
MISFITS = [
    (["stages.1.solver=neumann"], "bilevel.series-without-rate", "stages.1.solver"),
    (["stages.1.solver=rhg", CLIPPED], "bilevel.lower-setting", "stages.1.solver"),
    (["stages.1.solver=truncated-rhg", CLIPPED], "bilevel.lower-setting", "stages.1.solver"),
    (["stages.1.solver=tbgl", "stages.1.lower.steps=1", CLIPPED], "bilevel.lower-setting", "stages.1.solver"),
    (["stages.1.groups=3"], "train.groups-above-samples", "stages.1.groups"),
    (["stages.1.groups=3", "stages.1.lower.accumulate=2"], "train.groups-uneven-parts", "stages.1.groups"),
]
NORMALISED = "{network: retinex/illumination, inputs: {image: rgb}, outputs: [enhanced, stages]}"
FITS = [
    ["stages.1.solver=neumann", "stages.1.rate=0.1"],
    ["stages.1.solver=neumann", "stages.1.lower.optimizer=sgd"],
    ["stages.1.solver=rhg"],
    ["stages.1.solver=ibgl", "stages.1.lower.clip=1"],
    ["stages.1.groups=4", "stages.1.lower.accumulate=2"],
    ["stages.1.groups=sample"],
]


def _plan(path: Path, *overrides: str) -> Plan:
    return make_plan(read_spec(path, overrides), default_registry())


@pytest.mark.parametrize(("overrides", "code", "place"), MISFITS)
def test_misfits_are_found(small: list[str], tmp_path: Path, overrides: list[str], code: str, place: str) -> None:
    arguments = ["check", str(RAW), *sets(*small, *overrides)]
    with refused(code, place, SpecError):
        CliRunner().invoke(group, arguments, catch_exceptions=False)
    with refused(code, place, SpecError):
        run(RAW, overrides=[*small, *overrides], out=tmp_path / "r")
    assert not (tmp_path / "r").exists(), "the corrected command may use the same folder"


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.upper.crop=1000"],
        ["stages.1.groups=2", f"blocks.enhance={NORMALISED}", "stages.1.lower.objective=fidelity"],
    ],
)
def test_misfits_of_later_stages_are_found_first(small: list[str], tmp_path: Path, overrides: list[str]) -> None:
    with pytest.raises(TrainingError) as caught:
        run(RAW, overrides=[*small, "checkpoint_seconds=0", *overrides], out=tmp_path / "r")
    assert caught.value.place.startswith("stage 2/2 ibgl")
    assert not (tmp_path / "r").exists(), "no step was taken"


@pytest.mark.parametrize("overrides", FITS)
def test_what_fits_passes(overrides: list[str]) -> None:
    plan = _plan(RAW, *overrides)
    check_fit(plan, lambda split: plan.spec.data[split].batch_size)


def test_the_batches_of_a_problem_are_asked_for_their_samples(tmp_path: Path) -> None:
    expected = {"code": "train.groups-above-samples", "place": "stages.0.groups", "groups": 201, "samples": 200}
    with refused(**expected):
        run(CLEANING, overrides=["stages.0.groups=201", "tracker="], out=tmp_path / "r")
    with refused(**expected):
        CliRunner().invoke(group, ["check", str(CLEANING), "--set", "stages.0.groups=201"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("samples", "groups", "fits"), [(8, 4, True), (6, 3, False), (6, 8, False), (5, 2, True), (5, 4, False)]
)
def test_groups_are_shared_by_all_processes_or_refused_by_all(samples: int, groups: int, fits: bool) -> None:
    """Of 5 samples the first process has 2 and the second 3, of which the second alone cannot make 2 groups."""
    plan = _plan(CLEANING, f"stages.0.groups={groups}")
    if fits:
        check_fit(plan, lambda _: samples, ranks=2)
        return
    with refused("train.groups-uneven-processes", "stages.0.groups", SpecError, groups=groups, processes=2):
        check_fit(plan, lambda _: samples, ranks=2)


class Curious(Alternating):
    """Asks, as it begins, for more than variables and optimizers."""

    def init(self, problem: Any, optimizers: Any) -> Any:
        if not hasattr(problem, "lower_groups"):
            raise BilevelError("mine.no-groups", what="this needs groups")
        problem.couple([])
        return super().init(problem, optimizers)


def test_a_solver_that_asks_for_the_problem_itself_is_left_to_the_run() -> None:
    plan = _plan(CLEANING, "stages.0.solver=alternating", "stages.0.groups=")
    other = replace(plan, solvers={0: [replace(plan.solvers[0][0], target=Curious)]})
    check_fit(other, lambda _: 1)
