"""Learning rates over a stage, and gradients shortened for the step alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from restore_hub import run
from restore_hub.bilevel.preconditioner import preconditioner
from restore_hub.spec import Level
from restore_hub.train.optimizers import make_optimizer, rate, set_rate
from support import LOWLIGHT, refused


def level(**settings: object) -> Level:
    return Level.model_validate({"blocks": ["a"], "objective": "f", "data": "train", "lr": 0.1, **settings})


@pytest.mark.parametrize(
    ("schedule", "warmup", "step", "done", "expected"),
    [
        ("constant", 0, 0, 0.0, 1.0),
        ("constant", 0, 99, 0.99, 1.0),
        ("constant", 4, 0, 0.0, 0.25),
        ("constant", 4, 3, 0.03, 1.0),
        ("constant", 4, 50, 0.5, 1.0),
        ("linear", 0, 25, 0.25, 0.75),
        ("cosine", 0, 0, 0.0, 1.0),
        ("cosine", 0, 50, 0.5, 0.5),
        ("cosine", 0, 25, 0.25, (1 + math.sqrt(0.5)) / 2),
        ("cosine", 10, 4, 0.5, 0.25),
        ("linear", 0, 100, 1.0, 0.0),
    ],
)
def test_rates(schedule: str, warmup: int, step: int, done: float, expected: float) -> None:
    assert rate(schedule, warmup, step, done) == pytest.approx(expected)
    variable = torch.zeros(1, requires_grad=True)
    settings = level(schedule=schedule, warmup=warmup)
    optimizer = make_optimizer(settings, [variable])
    set_rate(optimizer, settings, step, done)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * expected)


@pytest.mark.parametrize("length", [0.5, 2.0, 40.0])
def test_clip_shortens_the_step_of_the_whole_level_and_leaves_the_gradient_alone(length: float) -> None:
    one, two = torch.zeros(3, requires_grad=True), torch.zeros(4, requires_grad=True)
    optimizer = make_optimizer(level(optimizer="sgd", clip=2.0), [one, two])
    whole = torch.randn(7, generator=torch.Generator().manual_seed(0))
    whole *= length / whole.norm()
    given = [whole[:3].clone(), whole[3:].clone()]
    one.grad, two.grad = given
    optimizer.step()
    moved = torch.cat([one, two]).detach()
    torch.testing.assert_close(moved, -0.1 * whole * min(1.0, 2.0 / length))
    torch.testing.assert_close(torch.cat(given), whole, rtol=0, atol=0)


def test_a_gradient_of_zero_stays_zero() -> None:
    variable = torch.ones(2, requires_grad=True)
    optimizer = make_optimizer(level(optimizer="sgd", clip=1.0), [variable])
    variable.grad = torch.zeros(2)
    optimizer.step()
    assert variable.tolist() == [1, 1]


def test_tbgl_refuses_a_clipped_lower_step() -> None:
    variable = torch.ones(2, requires_grad=True)
    optimizer = make_optimizer(level(optimizer="sgd", clip=1.0), [variable])
    with refused("bilevel.lower-setting", setting="clip", got=1.0):
        preconditioner(optimizer, (variable,))


def test_a_level_without_variables() -> None:
    with refused("train.no-parameters"):
        make_optimizer(level(), [])


def test_a_run_follows_its_schedule(small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, ...]] = []
    from restore_hub.bilevel.solvers import Ibgl, Joint

    def watched(step: Callable[..., object]) -> Callable[..., object]:
        def wrapper(self: object, problem: object, state: Any, batches: object) -> object:
            seen.append(tuple(o.param_groups[0]["lr"] for o in state.optimizers))
            return step(self, problem, state, batches)

        return wrapper

    for solver in (Joint, Ibgl):
        monkeypatch.setattr(solver, "step", watched(solver.step))
    settings = [
        "stages.0.steps=4",
        "stages.0.lr=0.01",
        "stages.0.schedule=linear",
        "stages.0.warmup=2",
        "stages.1.steps=2",
        "stages.1.upper.schedule=cosine",
        "stages.1.upper.lr=0.002",
        "stages.1.lower.lr=0.003",
        "stages.1.lower.clip=0.1",
    ]
    run(LOWLIGHT, overrides=[*small, *settings], out=tmp_path / "r")
    expected = [(0.005,), (0.0075,), (0.005,), (0.0025,), (0.002, 0.003), (0.001, 0.003)]
    assert [pytest.approx(rates) for rates in expected] == seen
