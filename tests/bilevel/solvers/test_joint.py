"""The solver of one level."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, optim

from restore_hub.bilevel.solvers import (
    Joint,
)
from restore_hub.contracts import Batches
from restore_hub.errors import BilevelError


class Single:
    names = ("scale", "shift")

    def __init__(self) -> None:
        self.variables = (torch.tensor([0.4, -0.2]).requires_grad_(), torch.tensor(0.1).requires_grad_())

    def energy(self, data: Tensor) -> Tensor:
        return (data * self.variables[0] + self.variables[1]).exp().mean()


def test_joint_is_a_plain_autograd_step_on_all_variables() -> None:
    data = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    ours, theirs = Single(), Single()
    optimizer = optim.Adam(theirs.variables, lr=0.05)
    state = Joint().init(ours, [optim.Adam(ours.variables, lr=0.05)])
    for _ in range(5):
        optimizer.zero_grad()
        value = theirs.energy(data)
        value.backward()
        optimizer.step()
        state, logs = Joint().step(ours, state, Batches(None, [data]))
        assert logs["loss"].item() == value.item()
    assert all(torch.equal(a, b) for a, b in zip(ours.variables, theirs.variables, strict=True))
    assert Joint().evaluations(1) == 1


def test_joint_inside_one_autocast_region_sees_its_own_steps() -> None:
    """Autocast caches cast weights; without clearing them the second step would see the first step's weights."""
    problem, losses = Single(), []
    problem.variables = (torch.ones(4, 4, requires_grad=True),)
    problem.names = ("w",)
    problem.energy = lambda data: (data @ problem.variables[0]).float().square().mean()
    state = Joint().init(problem, [optim.SGD(problem.variables, lr=0.05)])
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(3):
            state, logs = Joint().step(problem, state, Batches(None, [torch.ones(2, 4)]))
            losses.append(logs["loss"].item())
    assert losses[2] < losses[1] < losses[0]


def test_joint_names_what_is_missing_or_not_finite() -> None:
    problem = Single()
    state = Joint().init(problem, [optim.SGD(problem.variables, lr=0.1)])
    with pytest.raises(BilevelError, match="one level"):
        Joint().step(problem, state, Batches(1, [1]))
    problem.energy = lambda _: torch.ones((), requires_grad=True) * 2
    with pytest.raises(BilevelError, match="F depends on no tensor of the variables"):
        Joint().step(problem, state, Batches(None, [None]))
    problem.energy = lambda _: (problem.variables[1] - 0.1).sqrt() + problem.variables[0].sum()
    with pytest.raises(BilevelError, match="the gradient of F by shift is not finite"):
        Joint().step(problem, state, Batches(None, [None]))
    assert problem.variables[0].tolist() == pytest.approx([0.4, -0.2])


def test_joint_refuses_a_problem_of_two_levels(kit: Any) -> None:
    problem = kit.Chain()
    with pytest.raises(BilevelError, match="Chain has no `variables` and `energy`"):
        Joint().init(problem, [optim.SGD(problem.omega, lr=0.1)])
