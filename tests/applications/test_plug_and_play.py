"""Deblurring whose lower variables are the pictures of each batch, of sizes that vary, against the closed form."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from restore_hub import run
from restore_hub.plan import make_plan
from restore_hub.plan.problems import make_problem
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from restore_hub.testing import check_problem
from restore_hub.train.setup import set_up
from restore_hub.train.stepper import Stepper
from support import refused
from support.plugin_files import WritePlugin
from support.runs import stop_after

PLUGIN = '''
import torch
from torch import nn
from restore_hub import hookimpl

class Deblur:
    """Below: a picture that explains its blurred copy and is smooth. Above: how much smoothness counts."""
    metrics = {"error": False}

    def __init__(self) -> None:
        self.blocks = nn.ModuleDict({"smooth": nn.ParameterDict({"log": torch.tensor(-1.0)})})
        self.initial = {"picture": lambda batch: {"u": batch["blurred"]}}
        self.energies = {"restored": self.restored, "explains": self.explains}
        self.splits = {"pictures": 12}

    @staticmethod
    def blur(u):
        return sum(torch.roll(u, (i, j), (2, 3)) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9

    def batch(self, split, seed, index):
        g = torch.Generator().manual_seed((seed + 97 * index) % 2**31)
        h, w = ((16, 16), (12, 20), (24, 8))[index % 3]
        clean = torch.rand(2, 1, h // 4, w // 4, generator=g).repeat_interleave(4, 2).repeat_interleave(4, 3)
        return {"clean": clean, "blurred": self.blur(clean) + 0.05 * torch.randn(clean.shape, generator=g)}

    def explains(self, v, batch):
        u, weight = v["picture"]["u"], v["smooth"]["log"].exp()
        steep = sum((u - torch.roll(u, 1, axis)).square().sum() for axis in (2, 3))
        return ((self.blur(u) - batch["blurred"]).square().sum() + weight * steep) / 2, u.numel()

    def restored(self, v, batch):
        u = v["picture"]["u"]
        return (u - batch["clean"]).square().sum(), u.numel()

    def solved(self, batch, weight):
        """The picture that minimises `explains`, by the FFT."""
        delta = torch.zeros_like(batch["blurred"][:1])
        delta[..., 0, 0] = 1
        k = torch.fft.fft2(self.blur(delta))
        d = sum(torch.fft.fft2(delta - torch.roll(delta, 1, axis)).abs().square() for axis in (2, 3))
        y = torch.fft.fft2(batch["blurred"])
        return torch.fft.ifft2(k.conj() * y / (k.abs().square() + weight * d)).real

    def error_at(self, weight):
        batches = [self.batch("pictures", 5, index) for index in range(30)]
        found = [(self.solved(batch, weight) - batch["clean"]).square().mean() for batch in batches]
        return float(torch.stack(found).mean())

    def measure(self):
        return {"error": self.error_at(self.blocks["smooth"]["log"].detach().exp())}

@hookimpl
def register_problems(register):
    register("deblur", "{stem}:Deblur", summary="Deblurring")
'''
SPEC = """
name: pnp
problem: {problem: sharp/deblur}
stages:
  - solver: cg
    steps: 60
    iterations: 30
    share_batch: true
    upper: {blocks: [smooth], objective: restored, data: pictures, lr: 0.1}
    lower: {blocks: [picture], objective: explains, data: pictures, steps: 40, batches: one, restart: batch, lr: 0.02}
metrics: [error]
checkpoint_seconds: 0
"""


@pytest.fixture
def files(write_plugin: WritePlugin, tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "pnp.yaml").write_text(SPEC)
    return tmp_path / "pnp.yaml", write_plugin("sharp", PLUGIN)


def test_the_lower_steps_approach_the_closed_form(files: tuple[Path, Path]) -> None:
    changes = ["stages.0.lower.steps=300", "stages.0.lower.optimizer=sgd", "stages.0.lower.lr=250"]
    setup = set_up(files[0], changes, [files[1]], "cpu")
    stepper, problem = Stepper(setup, 0), setup.trainable.problem  # type: ignore[attr-defined]
    for step in range(3):
        stepper.step(step, 0.0)
        weight = math.exp(-1.0) if step == 0 else None
        batch = stepper._feed.batches(step).upper.tensors
        (u,) = stepper._seen[0].omega
        assert u.shape == batch["clean"].shape
        if weight is not None:
            torch.testing.assert_close(u.detach(), problem.solved(batch, weight), rtol=0, atol=2e-3)


def test_the_learned_weight_is_near_the_best_one(files: tuple[Path, Path], tmp_path: Path) -> None:
    """The error of held-out pictures comes within 2 % of the smallest on a grid of weights."""
    spec, plugin = files
    problem = make_problem(make_plan(read_spec(spec), default_registry([plugin])))
    best = min(problem.error_at(math.exp(log)) for log in torch.linspace(-7, 1, 81).tolist())  # type: ignore[attr-defined]
    first = problem.measure()["error"]
    result = run(spec, plugins=[plugin], out=tmp_path / "r", quiet=True)
    assert result.metrics["error"] < 1.02 * best < first


def test_no_checkpoint_holds_a_picture_and_a_run_resumes_to_the_same_bits(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    spec, plugin = files
    given = {"plugins": [plugin], "quiet": True, "overrides": ["stages.0.steps=6", "stages.0.lower.steps=2"]}
    run(spec, out=tmp_path / "whole", **given)  # type: ignore[arg-type]
    stop_after(4, spec=spec, out=tmp_path / "r", **given)
    state = torch.load(tmp_path / "r" / "checkpoints" / "state.pt")
    assert set(state["blocks"]) == {"smooth"}
    assert state["position"]["solver"]["solver"]["optimizers"][1]["state"] == {}
    run(spec, out=tmp_path / "r", resume=True, **given)  # type: ignore[arg-type]
    one, two = (torch.load(tmp_path / name / "checkpoints" / "last.pt")["blocks"] for name in ("whole", "r"))
    assert torch.equal(one["smooth"]["log"], two["smooth"]["log"])


@pytest.mark.parametrize("solver", ["ibgl", "lwcl", "tbgl", "rhg", "truncated-rhg", "bda", "f2sa"])
def test_every_solver_takes_pictures_of_varying_size(files: tuple[Path, Path], solver: str) -> None:
    changes = [f"stages.0.solver={solver}", "stages.0.iterations=", "stages.0.lower.steps=1"]
    setup = set_up(files[0], changes, [files[1]], "cpu")
    stepper = Stepper(setup, 0)
    before = setup.blocks["smooth"]["log"].detach().clone()  # type: ignore[index]
    for step in range(4):
        assert all(math.isfinite(value) for value in stepper.step(step, 0.0).values())
    assert not torch.equal(before, setup.blocks["smooth"]["log"].detach())  # type: ignore[index]


def test_the_problem_passes_the_check(files: tuple[Path, Path]) -> None:
    check_problem(make_problem(make_plan(read_spec(files[0]), default_registry([files[1]]))))


@pytest.mark.parametrize(
    ("override", "code", "place"),
    [
        ("stages.0.lower.restart=warm", "spec.renewed-block", "stages.0.lower.blocks"),
        ("stages.0.lower.blocks=[smooth]", "spec.not-renewed", "stages.0.lower.restart"),
        ("stages.0.upper.blocks=[picture]", "spec.renewed-block", "stages.0.upper.blocks"),
        ("stages.0.lower.accumulate=2", "spec.renewed-share-batch", "stages.0.lower.restart"),
    ],
)
def test_mistakes_are_named_where_they_are_written(
    files: tuple[Path, Path], tmp_path: Path, override: str, code: str, place: str
) -> None:
    with refused(code, place):
        run(files[0], plugins=[files[1]], overrides=[override], out=tmp_path / "r", quiet=True)


def test_exact_hypergradients_agree_where_the_lower_variables_are_pictures(files: tuple[Path, Path]) -> None:
    from restore_hub.trial.hypergradient_check import check_hypergradients

    changes = ["stages.0.lower.optimizer=sgd", "stages.0.lower.lr=250", "stages.0.lower.steps=300"]
    (found,) = check_hypergradients(files[0], overrides=changes, plugins=[files[1]])
    sound = [comparison.whole.cosine for comparison in found.comparisons if comparison.sound]
    assert sound
    assert min(sound) > 0.99
