"""A small chain in float64, with counters, batches for it, and how solvers step it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, optim

from restore_hub.bilevel.solvers import State
from restore_hub.contracts import Batches

RATE = 0.07  # the lower learning rate of `sgd`


class Chain:
    """Batch (z, y): hidden = tanh(z W + b) above, a nonlinear head on hidden * late below.

    `late` is a variable of the upper level that only the energies use, so `couple` returns the leaf itself.
    """

    theta_names, omega_names = ("W", "b", "late"), ("V", "d")

    def __init__(self, seed: int = 0) -> None:
        drawn = leaves(seed, (3, 4), (4,), (4,), (4, 2), (2,))
        self.theta, self.omega = drawn[:3], drawn[3:]
        self.forwards: list[bool] = []  # for each run of `couple`, whether it kept a graph
        self.backwards = self.energies = 0

    def couple(self, batch: Any) -> tuple[Tensor, ...]:
        hidden = torch.tanh(batch[0] @ self.theta[0] + self.theta[1])
        self.forwards.append(hidden.requires_grad)
        if hidden.requires_grad:
            hidden.register_hook(lambda _: setattr(self, "backwards", self.backwards + 1))
        return hidden, self.theta[2]

    def upper(self, x: Any, omega: Any, batch: Any) -> Tensor:
        self.energies += 1
        fit = torch.nn.functional.softplus((x[0] * x[1]) @ omega[0] + omega[1]) - batch[1]
        return fit.square().mean() + 0.1 * x[0].square().sum()

    def lower(self, x: Any, omega: Any, batch: Any) -> Tensor:
        self.energies += 1
        fit = torch.sigmoid((x[0] * x[1]) @ omega[0] + omega[1]) - 0.3 * batch[1]
        return fit.square().sum() + 0.05 * sum(w.square().sum() for w in omega)


def draw(seed: int, *shapes: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Return normal random numbers in float64."""
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(s, generator=g, dtype=torch.float64) for s in shapes)


def leaves(seed: int, *shapes: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Return variables of such numbers."""
    return tuple(t.requires_grad_() for t in draw(seed, *shapes))


def batch(seed: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(100 + seed)
    return torch.randn(5, 3, generator=g, dtype=torch.float64), torch.rand(5, 2, generator=g, dtype=torch.float64)


def feed(case: str, steps: int) -> Batches:
    """`shared`: one batch at both levels; `one`: one lower batch for all steps; `fresh`: one for each."""
    if case == "shared":
        same = batch(0)
        return Batches(same, [same], steps)
    lower = [batch(1 + i) for i in range(1 if case == "one" else steps)]
    return Batches(batch(0), lower, steps)


def sgd(pair: Any, upper: float = 0.3) -> list[optim.Optimizer]:
    return [optim.SGD(pair.theta, lr=upper), optim.SGD(pair.omega, lr=RATE)]


def run(solver: Any, pair: Any, batches: Batches) -> tuple[State, dict[str, Tensor]]:
    state, logs = solver.step(pair, solver.init(pair, sgd(pair)), batches)
    numbers = [torch.as_tensor(value) for value in logs.values()]
    assert all(value.ndim == 0 and not value.requires_grad for value in numbers)
    return state, logs


def step(solver: Any, pair: Any, lower: float | optim.Optimizer, steps: int = 1, batches: Any = None) -> dict[str, Any]:
    """Take one outer step that leaves theta in place, where nothing else is given on no data.

    Args:
        lower: the lower optimizer, or the learning rate of SGD.
    """
    below = lower if isinstance(lower, optim.Optimizer) else optim.SGD(pair.omega, lr=lower)
    state = solver.init(pair, [optim.SGD(pair.theta, lr=0.0), below])
    logs: dict[str, Any] = solver.step(pair, state, batches or Batches(None, [None], steps))[1]
    return logs


def grads(value: Tensor, variables: Any) -> list[Tensor]:
    found = torch.autograd.grad(value, variables, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(v) if g is None else g for g, v in zip(found, variables, strict=True)]


def dot(a: Any, b: Any) -> Tensor:
    return sum((p * q).sum() for p, q in zip(a, b, strict=True))


def differences(pair: Any, value: Callable[[], float], h: float = 1e-5) -> Tensor:
    """Return the central differences of a value by all entries of theta."""
    found = []
    for t in pair.theta:
        for entry in t.detach().view(-1).unbind():
            entry += h
            high = value()
            entry -= 2 * h
            found.append((high - value()) / (2 * h))
            entry += h
    return torch.tensor(found, dtype=torch.float64)
