"""A stage of a spec with `problem`: energies, groups and batches against plain autograd; a run from end to end."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from restore_hub import run
from restore_hub.batch import Batch
from restore_hub.bilevel import evaluate, lower_rows
from restore_hub.contracts import Problem
from restore_hub.errors import SpecError
from restore_hub.export.runs import export_run
from restore_hub.plan import make_plan
from restore_hub.plan.problems import check_problem, make_problem
from restore_hub.plugins import default_registry
from restore_hub.spec import Level, read_spec
from restore_hub.testing import check_problem as check_contract
from restore_hub.train.problems.plugin import ProblemStream
from restore_hub.train.problems.plugin_pair import ProblemLevel, ProblemPair
from restore_hub.train.setup import set_up
from restore_hub.trial.compare_solvers import compare_solvers
from restore_hub.trial.forecast import forecast
from restore_hub.trial.stage_probe import measure_stage
from support import refused

PLUGIN = '''
import torch
from torch import nn
from restore_hub import hookimpl

class Fit:
    """A linear fit below, a scale for each feature above."""
    metrics = {"distance": False}

    def __init__(self, samples: int = 6, broken: str = "") -> None:
        g = torch.Generator().manual_seed(3)
        self._z = torch.randn(2, samples, 3, generator=g).double()
        self._y = torch.randn(2, samples, generator=g).double()
        def block(*shape):
            module = nn.Module()
            module.register_parameter("w", nn.Parameter(torch.randn(*shape).double()))
            return module
        self.blocks = nn.ModuleDict({"scale": block(3), "fit": block(3), "spare": block(1)})
        self.energies = {"error": self.error, "size": self.size, "broken": self.broken, "mean": self.mean}
        self.splits = {"low": samples, "high": samples}
        self.notes = ("made up",)

    def batch(self, split, seed, index):
        place = ("low", "high").index(split)
        order = torch.randperm(len(self._y[place]), generator=torch.Generator().manual_seed((seed + index) % 2**31))
        return {"z": self._z[place][order], "y": self._y[place][order]}

    def measure(self):
        return {"distance": float((self.blocks["scale"].w.detach() - 1).norm())}

    def error(self, v, batch):
        fit = (batch["z"] * v["scale"]["w"]) @ v["fit"]["w"]
        return (fit - batch["y"]).square().sum(), len(batch["y"])

    def size(self, v, batch):
        return len(batch["y"]) * v["fit"]["w"].square().sum(), len(batch["y"])

    def broken(self, v, batch):
        raise ZeroDivisionError("on purpose")

    def mean(self, v, batch):
        return v["fit"]["w"].square().mean()

class Half:
    metrics = {}
    blocks = {}
    energies = splits = batch = measure = None

@hookimpl
def register_problems(register):
    register("fit", "linear:Fit", summary="A linear fit")
    register("half", "linear:Half", summary="Not all that is promised")
'''
SPEC = """
name: small
problem: {problem: linear/fit}
stages:
  - solver: ibgl
    steps: 3
    groups: sample
    upper: {blocks: [scale], objective: error, data: high, lr: 1e-2}
    lower: {blocks: [fit], objective: {error: 1, size: 0.1}, data: low, lr: 1e-2, steps: 2}
metrics: [distance]
"""

ALTERNATING = (
    "{solver: alternating, steps: 1, upper: {blocks: [scale], objective: error, data: high}, "
    "lower: {blocks: [fit], objective: size, data: low}}"
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Return the spec and the plugin file."""
    folder = tmp_path_factory.mktemp("problem")
    (folder / "linear.py").write_text(PLUGIN)
    (folder / "small.yaml").write_text(SPEC)
    return folder / "small.yaml", folder / "linear.py"


@pytest.fixture
def parts(files: tuple[Path, Path]) -> Problem:
    torch.manual_seed(0)
    return make_problem(make_plan(read_spec(files[0]), default_registry([files[1]])))


def _pair(parts: Problem) -> ProblemPair:
    upper = Level(blocks=["scale"], objective="error", data="high")
    lower = Level(blocks=["fit"], objective={"error": 1.0, "size": 0.1}, data="low")
    return ProblemPair(parts, upper, lower)


def test_energies_are_those_of_the_problem_at_given_variables(parts: Problem) -> None:
    parts.energies = {name: parts.energies[name] for name in ("error", "size")}
    check_contract(parts)
    pair, batch = _pair(parts), Batch(parts.batch("low", 1, 0))
    assert (pair.theta_names, pair.omega_names) == (("scale.w",), ("fit.w",))
    assert pair.couple(batch) is pair.theta
    x, w = (torch.randn(3, dtype=torch.float64) for _ in range(2))
    error = ((batch["z"] * x) @ w - batch["y"]).square().mean()
    assert pair.upper((x,), (w,), batch).item() == pytest.approx(error.item(), rel=1e-13)
    assert pair.lower((x,), (w,), batch).item() == pytest.approx((error + 0.1 * w @ w).item(), rel=1e-13)
    split = pair.lower((x,), (w,), Batch.of_parts(batch.split([1, 3, 2])))
    assert split.item() == pytest.approx(pair.lower((x,), (w,), batch).item(), rel=1e-13)
    level = ProblemLevel(parts, Level(blocks=["fit", "scale"], objective="error", data="low"))
    assert level.names == ("fit.w", "scale.w")
    live = pair.upper(pair.theta, pair.omega, batch)
    assert level.energy(batch).item() == live.item()


@pytest.mark.parametrize(
    ("sizes", "groups", "rows", "first"), [((6,), "sample", 6, 1), ((6,), 3, 3, 2), ((6,), 4, 4, 2), ((2, 4), 2, 2, 2)]
)
def test_groups_are_shares_of_the_lower_energy(parts: Problem, sizes: Any, groups: Any, rows: int, first: int) -> None:
    pair = _pair(parts)
    batch = Batch.of_parts(Batch(parts.batch("low", 1, 0)).split(sizes))
    whole = evaluate(pair, "lower", pair.theta, pair.omega, batch)
    found = lower_rows(pair, pair.theta, pair.omega, batch, groups)
    torch.testing.assert_close(found.total(), whole, rtol=1e-12, atol=1e-14)
    assert len(found.omega[0]) == rows
    part, _ = Batch(batch.tensors).split([first, 6 - first])
    alone = evaluate(pair, "lower", pair.theta, pair.omega, part)
    share = first / 6
    torch.testing.assert_close(found.omega[0][0], share * alone.omega[0], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found.x[0].value[0], share * alone.x[0], rtol=1e-12, atol=1e-14)
    with refused("train.groups-above-samples", groups=8, samples=6):
        lower_rows(pair, pair.theta, pair.omega, batch, 8)


def test_streams_are_functions_of_seed_key_and_index(parts: Problem) -> None:
    streams = [ProblemStream(parts, "low", seed, key) for seed, key in ((0, "a"), (0, "a"), (1, "a"), (0, "b"))]
    drawn = [stream.batch(4)["y"].tolist() for stream in streams]
    assert drawn[0] == drawn[1]
    assert len({tuple(each) for each in drawn}) >= 2
    assert streams[0].batch(5)["y"].tolist() != drawn[0] or streams[0].batch(6)["y"].tolist() != drawn[0]


FLAT = "steps: 1, blocks: [fit], objective: error"


@pytest.mark.parametrize(
    ("override", "code", "place"),
    [
        ("stages.0.upper.blocks=[scales]", "spec.unknown-name", "stages.0.upper.blocks.0"),
        ("stages.0.lower.objective=errors", "spec.unknown-name", "stages.0.lower.objective"),
        ("stages.0.lower.data=lows", "spec.unknown-name", "stages.0.lower.data"),
        ("metrics=[distances]", "spec.no-metric", "metrics.0"),
        ("stages.0.upper.blocks=[scale, fit]", "spec.block-in-two-levels", "stages.0"),
        ("stages.0.upper.blocks=[scale, spare]", "spec.idle-block", "stages.0.upper.blocks"),
        ("stages.0.upper.data=low", "spec.levels-share-data", "stages.0.upper.data"),
        ("stages.0.lower.objective=size", "spec.dead-response", "stages.0.lower.objective"),
        ("stages.0.upper.objective=broken", "spec.energy-fails", "problem"),
        ("stages.0.upper.objective=mean", "spec.energy-result", "problem"),
        (
            "stages.0={solver: joint, steps: 1, blocks: [fit], objective: error, data: lows}",
            "spec.unknown-name",
            "stages.0.data",
        ),
        (
            "stages.0={solver: ibgl, steps: 1, blocks: [fit], objective: error, data: low}",
            "spec.solver-levels",
            "stages.0.solver",
        ),
        ("problem.sample=3", "spec.unknown-option-set", "problem.sample"),
        ("problem.problem=linear/half", "spec.promise-module-dict", "problem"),
        ("problem.problem=linear/fits", "plugin.unknown-component", "problem.problem"),
        ("data={low: {dataset: raw/pairs}}", "spec.problem-metric-list", "metrics"),
        ("metrics={d: {metric: psnr}}", "spec.problem-metrics", "--set metrics"),
        ("export.chain=rgb", "spec.problem-exports", "--set export.chain"),
        ("problem=", "spec.missing-section", "small.yaml"),
    ],
)
def test_mistakes_are_found_before_training(files: tuple[Path, Path], override: str, code: str, place: str) -> None:
    with refused(code, place, SpecError):
        set_up(files[0], [override], [files[1]], "cpu")


def test_a_check_leaves_the_random_state_and_says_what_has_no_response(files: tuple[Path, Path]) -> None:
    plan = make_plan(read_spec(files[0], [f"stages.0={ALTERNATING}"]), default_registry([files[1]]))
    problem = make_problem(plan)
    before = torch.get_rng_state()
    (remark,) = check_problem(plan, problem)
    assert torch.equal(torch.get_rng_state(), before)
    assert "no response term" in remark


@pytest.mark.parametrize("more", [[], ["stages.0.lower.accumulate=2"], ["precision=bf16"], ["stages.0.groups="]])
def test_a_run_measures_and_exports_nothing(files: tuple[Path, Path], tmp_path: Path, more: list[str]) -> None:
    done = run(files[0], overrides=[*more, "validate_every=2"], plugins=[files[1]], out=tmp_path / "r", quiet=True)
    assert (done.step, done.exported, set(done.metrics)) == (3, (), {"distance"})
    state = torch.load(tmp_path / "r" / "checkpoints" / "last.pt")["blocks"]
    distance = (state["scale"]["w"] - 1).norm().item()
    assert done.metrics["distance"] == pytest.approx(distance, rel=1e-6)
    page = (tmp_path / "r" / "report.html").read_text()
    assert "linear/fit" in page
    assert "made up" in page
    again = run(tmp_path / "r" / "spec.json", plugins=[files[1]], out=tmp_path / "s", quiet=True)
    assert again.metrics == done.metrics
    with refused("export.nothing-named", tmp_path / "r"):
        export_run(tmp_path / "r", default_registry([files[1]]))


def test_one_level_trains_too(files: tuple[Path, Path], tmp_path: Path) -> None:
    stage = "stages=[{solver: joint, steps: 5, blocks: [fit, scale], objective: error, data: low, lr: 0.1}]"
    done = run(files[0], overrides=[stage], plugins=[files[1]], out=tmp_path / "r", quiet=True)
    assert done.stages[0].evaluations == 5


def test_forecast_and_comparison(files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("forecast", "compare_solvers"):  # in this process, which has PyTorch imported already
        monkeypatch.setattr(importlib.import_module(f"restore_hub.trial.{module}"), "measure_in_process", measure_stage)
    found = forecast(files[0], plugins=[files[1]], runs=tmp_path)
    assert found.stages[0].measurements == 1
    (comparison,) = compare_solvers(files[0], ["alternating", "tbgl"], plugins=[files[1]])
    alternating, tbgl = comparison.results
    assert (alternating.changed, tbgl.changed) == (("without groups",), ("without groups", "lower.steps=1"))
    assert all(result.measured and not result.refused for result in (alternating, tbgl))


def test_a_problem_without_what_it_promises_is_told(parts: Problem) -> None:
    assert isinstance(parts.blocks, nn.ModuleDict)
    parts.energies = {"mean of samples": lambda v, b: (b["y"].mean() * v["fit"]["w"].sum(), 1)}
    with pytest.raises(AssertionError, match="its samples add up to"):
        check_contract(parts)
    parts.energies = {"none": lambda _, b: (b["y"].sum(), len(b["y"]))}
    with pytest.raises(AssertionError, match="has no gradient"):
        check_contract(parts)
    own = parts.blocks["fit"].w
    for read in (own, own.data):
        parts.energies = {
            "own": lambda v, b, r=read: (b["y"].sum() * v["fit"]["w"].sum() * (1 + 0 * r.sum()), len(b["y"]))
        }
        with pytest.raises(AssertionError, match="the energy 'own' reads the problem's own variables"):
            check_contract(parts)


class Apart:
    """Two splits with tensors of their own names, and an energy for each."""

    metrics = {"slope": False}

    def __init__(self) -> None:
        self.blocks = nn.ModuleDict({"line": nn.Linear(2, 1, bias=False)})
        self.energies = {"fit": self._on("train"), "held": self._on("held")}
        self.splits = {"train": 3, "held": 4}

    def _on(self, split: str) -> Any:
        return lambda v, b: ((b[f"X_{split}"] @ v["line"]["weight"][0]).square().sum(), len(b[f"X_{split}"]))

    def batch(self, split: str, seed: int, index: int) -> dict[str, Tensor]:
        return {f"X_{split}": torch.arange(2.0 * self.splits[split]).reshape(-1, 2)}

    def measure(self) -> dict[str, float]:
        return {"slope": float(self.blocks["line"].weight.detach().norm())}


def test_each_energy_is_checked_on_a_split_that_it_takes() -> None:
    check_contract(Apart)
    problem = Apart()
    problem.energies["lost"] = problem._on("none")
    with pytest.raises(
        AssertionError, match=r"'lost' accepts no split's batches \('train': KeyError: 'X_none'; 'held'"
    ):
        check_contract(problem)
    problem = Apart()
    problem.energies["held"] = lambda _, b: (b["X_held"].sum(), len(b["X_held"]))
    with pytest.raises(AssertionError, match="the energy 'held' has no gradient"):
        check_contract(problem)
