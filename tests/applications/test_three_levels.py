"""Three levels as a plugin's problem: a run ends at the optimum that algebra gives, and resumes to the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from restore_hub import run
from restore_hub.bilevel import Reduction
from restore_hub.bilevel.solvers import Cg
from restore_hub.plan import make_plan
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from restore_hub.train.ranks import Ranks
from restore_hub.train.setup import set_up
from restore_hub.train.stepper import Stepper
from support import refused
from support.plugin_files import WritePlugin
from support.runs import content, stop_after

PLUGIN = '''
import torch
from torch import nn
from restore_hub import hookimpl

A, C, D = torch.tensor([[0.5, 0.2], [0.0, 0.4]]), torch.tensor([0.3, -0.6]), torch.tensor([1.0, 0.5])

class Scales:
    """Level 3 follows level 2, w = A omega; level 2 pays <c, w>; level 1 wants omega at d."""
    metrics = {"distance": False}

    def __init__(self) -> None:
        self.blocks = nn.ModuleDict({name: nn.ParameterDict({"v": torch.zeros(2)}) for name in ("one", "two", "three")})
        self.energies = {"first": self.first, "second": self.second, "third": self.third}
        self.splits = {"a": 4, "b": 4, "c": 4}

    def batch(self, split, seed, index):
        return {"weight": torch.ones(4)}

    def first(self, v, batch):
        n = len(batch["weight"])
        return n * ((v["two"]["v"] - D).square().sum() + 0.5 * v["one"]["v"].square().sum()) / 2, n

    def second(self, v, batch):
        n = len(batch["weight"])
        return n * ((v["two"]["v"] - v["one"]["v"]).square().sum() / 2 + (C * v["three"]["v"]).sum()), n

    def third(self, v, batch):
        n = len(batch["weight"])
        return n * (v["three"]["v"] - A @ v["two"]["v"]).square().sum() / 2, n

    def measure(self):
        # omega = theta - A^T c, so theta minimises |theta - A^T c - d|^2 + |theta|^2 / 2.
        optimum = (D + A.T @ C) / 1.5
        return {"distance": float((self.blocks["one"]["v"].detach() - optimum).norm())}

@hookimpl
def register_problems(register):
    register("scales", "{stem}:Scales", summary="Three scales")
'''
SPEC = """
name: three
problem: {problem: PLUGIN/scales}
stages:
  - solver: cg
    steps: 40
    iterations: 4
    levels:
      - {blocks: [one], objective: first, data: a, lr: 0.5, optimizer: sgd}
      - {blocks: [two], objective: second, data: b, lr: 0.5, optimizer: sgd, steps: 6, solver: {solver: rhg}}
      - {blocks: [three], objective: third, data: c, lr: 0.5, optimizer: sgd, steps: 12}
metrics: [distance]
checkpoint_seconds: 0
"""


LEVELS = (
    "{blocks: [one], objective: first, data: a}, "
    "{blocks: [two], objective: second, data: b, solver: {solver: cg}}, "
    "{blocks: [three], objective: third, data: c}"
)


@pytest.fixture
def files(write_plugin: WritePlugin, tmp_path: Path) -> tuple[Path, Path]:
    spec = tmp_path / "three.yaml"
    spec.write_text(SPEC.replace("PLUGIN", "scales-of-three"))
    return spec, write_plugin("scales_of_three", PLUGIN)


def test_a_run_ends_at_the_optimum_of_all_three_levels(files: tuple[Path, Path], tmp_path: Path) -> None:
    """The response of level 3 to level 2 is constant, so no term is dropped."""
    spec, plugin = files
    result = run(spec, plugins=[plugin], out=tmp_path / "r", quiet=True)
    assert result.metrics["distance"] < 1e-3
    # cg: 6 + 2 + 4; for each of the 6 steps, rhg's 2 * 12 + 1.
    assert result.stages[0].evaluations == 40 * (12 + 6 * 25)
    last = content(tmp_path / "r" / "metrics.jsonl").splitlines()[-2].decode()
    assert "loss/level-3" in last


def test_it_resumes_to_the_same_bits(files: tuple[Path, Path], tmp_path: Path) -> None:
    spec, plugin = files
    given = {"plugins": [plugin], "quiet": True, "overrides": ["stages.0.steps=6"]}
    run(spec, out=tmp_path / "whole", **given)  # type: ignore[arg-type]
    stop_after(3, spec=spec, out=tmp_path / "r", **given)
    run(spec, out=tmp_path / "r", resume=True, **given)  # type: ignore[arg-type]
    one, two = (torch.load(tmp_path / name / "checkpoints" / "last.pt")["blocks"] for name in ("whole", "r"))
    assert all(torch.equal(one[block]["v"], two[block]["v"]) for block in one)


@pytest.mark.parametrize(
    ("override", "code", "place"),
    [
        ("stages.0.levels.2.solver=cg", "spec.unused-solver", "stages.0.levels.2.solver"),
        ("stages.0.levels.1.solver=joint", "spec.solver-levels", "stages.0.levels.1.solver"),
        ("stages.0.levels.1.solver.last=3", "spec.unknown-option-set", "stages.0.levels.1.solver.last"),
        ("stages.0.levels.0.steps=3", "spec.lower-level-only", "stages.0.levels.0.steps"),
        ("stages.0.levels.1.data=c", "spec.levels-share-data", "stages.0.levels.1.data"),
        ("stages.0.levels.2.blocks=[one]", "spec.block-in-two-levels", "stages.0"),
        ("stages.0.levels.2.objective=thrid", "spec.unknown-name", "stages.0.levels.2.objective"),
        ("stages.0.levels.1.objective=first", "spec.dead-response", "stages.0.levels.1.objective"),
        ("stages.0.share_batch=true", "spec.share-two-levels", "stages.0.share_batch"),
        ("stages.0.levels.1.optimizer={optimizer: sgd, betas: [0.5, 0.9]}", "spec.optimizer-option", "optimizer"),
        ("stages.0.levels.1.optimizer={optimizer: sgd, momentun: 0.5}", "spec.unknown-key", "optimizer.momentun"),
        ("stages.0.groups=sample", "spec.unknown-option-set", "stages.0.groups"),
    ],
)
def test_mistakes_are_named_where_they_are_written(
    files: tuple[Path, Path], tmp_path: Path, override: str, code: str, place: str
) -> None:
    spec, plugin = files
    with refused(code, place):
        run(spec, plugins=[plugin], overrides=[override], out=tmp_path / "r", quiet=True)


class Two(Ranks):
    """The first of two processes, alone."""

    size = 2
    reduction = Reduction(size=2)


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ("stages.0.levels.1.solver={solver: bda}", "stages.0.levels.1.solver"),
        (f"stages.0={{solver: bda, steps: 1, levels: [{LEVELS}]}}", "stages.0.solver"),
    ],
)
def test_the_solver_that_runs_on_one_process_only_is_named_where_it_is_written(
    files: tuple[Path, Path], override: str, place: str
) -> None:
    setup = set_up(files[0], [override], [files[1]], "cpu")
    setup.ranks = Two()
    with refused("train.solver-not-parallel", place, solver="std/bda"):
        Stepper(setup, 0)


class Merging(Cg):
    """Hands its response over together with dF_upper/dx."""

    def step(self, pair: Any, state: Any, batches: Any) -> Any:
        optimizer = state.optimizers[0]
        found = super().step(pair, state, batches)
        optimizer.response = ()  # as from `step_upper(pair, optimizer, merged)`
        return found


def test_a_lower_solver_that_merges_its_response_is_refused(files: tuple[Path, Path]) -> None:
    setup = set_up(files[0], (), [files[1]], "cpu")
    setup.plan.solvers[0] = [  # type: ignore[index]
        setup.plan.solvers[0][0], replace(setup.plan.solvers[0][1], target=Merging, options={})
    ]  # fmt: skip
    with refused("train.response-not-apart", "level 2"):
        Stepper(setup, 0).step(0, 0.0)


def test_groups_are_for_the_lowest_pair(files: tuple[Path, Path], tmp_path: Path) -> None:
    spec, plugin = files
    changes = ["stages.0.solver=ibgl", "stages.0.iterations=", "stages.0.groups=sample"]
    with refused("train.groups-above-a-level", "stages.0.groups"):
        run(spec, plugins=[plugin], overrides=changes, out=tmp_path / "r", quiet=True)


def test_check_says_which_term_is_dropped(files: tuple[Path, Path]) -> None:
    plan = make_plan(read_spec(files[0]), default_registry([files[1]]))
    from restore_hub.plan.dry_run import dry_run

    found = dry_run(plan)
    assert any("through the next one only" in remark for remark in found.remarks)
    assert "[one] on a over [two] on b over [three] on c" in found.costs[0]


def test_each_pair_of_levels_agrees_with_exact_hypergradients(files: tuple[Path, Path]) -> None:
    from restore_hub.trial.hypergradient_check import check_hypergradients

    top, bottom = check_hypergradients(files[0], plugins=[files[1]])
    assert ((top.levels, top.solver), (bottom.levels, bottom.solver)) == (((1, 2), "cg"), ((2, 3), "rhg"))
    found = [c for agreement in (top, bottom) for c in agreement.comparisons if c.reference == "optimum" and c.sound]
    assert len(found) >= 3
    assert all(comparison.whole.cosine > 0.999 for comparison in found)
