"""The solver of one level."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, optim

from restore_hub.bilevel.solvers import Joint
from restore_hub.contracts import Batches
from support import refused
from support.level_pair import Chain


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
    pair, losses = Single(), []
    pair.variables = (torch.ones(4, 4, requires_grad=True),)
    pair.names = ("w",)
    pair.energy = lambda data: (data @ pair.variables[0]).float().square().mean()
    state = Joint().init(pair, [optim.SGD(pair.variables, lr=0.05)])
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(3):
            state, logs = Joint().step(pair, state, Batches(None, [torch.ones(2, 4)]))
            losses.append(logs["loss"].item())
    assert losses[2] < losses[1] < losses[0]


def test_joint_names_a_missing_gradient_and_one_that_is_not_finite() -> None:
    pair = Single()
    state = Joint().init(pair, [optim.SGD(pair.variables, lr=0.1)])
    with refused("bilevel.not-a-single-batch"):
        Joint().step(pair, state, Batches(1, [1]))
    pair.energy = lambda _: torch.ones((), requires_grad=True) * 2
    with refused("bilevel.no-gradient", "F"):
        Joint().step(pair, state, Batches(None, [None]))
    pair.energy = lambda _: (pair.variables[1] - 0.1).sqrt() + pair.variables[0].sum()
    with refused("bilevel.not-finite", "gradient of F by shift"):
        Joint().step(pair, state, Batches(None, [None]))
    assert pair.variables[0].tolist() == pytest.approx([0.4, -0.2])


def test_joint_refuses_a_pair() -> None:
    pair = Chain()
    with refused("bilevel.not-a-single-level", "Chain"):
        Joint().init(pair, [optim.SGD(pair.omega, lr=0.1)])
