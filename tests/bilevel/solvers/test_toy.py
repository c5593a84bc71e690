"""The toy problem of LwCL Eq. 9, whose optimum is known, and other small problems without a chain."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, optim

from restore_hub.bilevel.solvers import Alternating, Bda, Cg, F2sa, Ibgl, Lwcl, Neumann, Rhg, State, TruncatedRhg
from restore_hub.contracts import Batches
from support import refused


class Toy:
    """LwCL Eq. 9 with a = c = 2: min (t - a)^2 + |w - a - c|^2, w_i in argmin sin(t + w_i - c_i)."""

    theta_names, omega_names = ("theta",), ("omega",)

    def __init__(self, theta: float, omega: Tensor) -> None:
        self.theta = (torch.tensor(theta, dtype=torch.float64, requires_grad=True),)
        self.omega = (omega.double().clone().requires_grad_(),)

    def couple(self, _: Any) -> tuple[Tensor, ...]:
        return self.theta

    def upper(self, x: Any, omega: Any, _: Any) -> Tensor:
        return (x[0] - 2) ** 2 + (omega[0] - 4).square().sum()

    def lower(self, x: Any, omega: Any, _: Any) -> Tensor:
        return torch.sin(x[0] + omega[0] - 2).sum()


def run(solver: Any, pair: Toy, batches: Batches) -> tuple[State, dict[str, Tensor]]:
    optimizers = [optim.SGD(pair.theta, lr=0.3), optim.SGD(pair.omega, lr=0.07)]
    return solver.step(pair, solver.init(pair, optimizers), batches)


@pytest.mark.parametrize("n", [1, 10, 1000])
@pytest.mark.parametrize(("theta", "omega"), [(3.0, 3.0), (1.5, 3.6)])
def test_lwcl_solves_the_toy_problem_from_equal_starts(n: int, theta: float, omega: float) -> None:
    pair, solver = Toy(theta, torch.full((n,), omega)), Lwcl()
    optimizers = [optim.SGD(pair.theta, lr=0.2 / (1 + n)), optim.SGD(pair.omega, lr=0.5)]
    state = solver.init(pair, optimizers)
    for _ in range(80):
        state, logs = solver.step(pair, state, Batches(None, [None]))
        assert logs["capped"] == 0
    C = 1.5 * math.pi
    best = ((1 - n) * 2 + n * C) / (1 + n)
    assert pair.theta[0].item() == pytest.approx(best, rel=2e-4)
    assert pair.omega[0].tolist() == pytest.approx([C + 2 - best] * n, rel=2e-4)
    optimum = (C - 4) ** 2 - (C - 4) ** 2 / (1 + n)
    assert logs["loss/upper"].item() == pytest.approx(optimum, rel=1e-3)
    if n == 1:  # the corrected optimum: theta* = 3 pi / 4 and omega* = 3 pi / 4 + 2
        assert pair.omega[0].item() == pytest.approx(0.75 * math.pi + 2, rel=2e-4)


SOLVERS = {
    "lwcl": Lwcl(),
    "cg": Cg(),
    "neumann": Neumann(),
    "f2sa": F2sa(),
    "f2sa, 1e4": F2sa(penalty=1e4),
    "rhg": Rhg(),
    "truncated-rhg": TruncatedRhg(),
    "bda": Bda(),
    "alternating": Alternating(),
}
REACHED = 2e-4  # relative error in theta
# Solver: the n at which it reaches theta*, with one lower step and with 20.
REACHES = {
    "lwcl": ({1, 10, 1000, 10_000}, {1, 10, 1000, 10_000}),
    "cg": ({1, 10, 1000, 10_000}, {1, 10, 1000, 10_000}),
    "neumann": ({1, 10, 1000, 10_000}, {1, 10, 1000, 10_000}),
    "f2sa, 1e4": ({1, 10, 1000, 10_000}, {1, 10, 1000, 10_000}),
    "f2sa": ({1000, 10_000}, {1000, 10_000}),
    "rhg": ({10_000}, {1, 10, 1000, 10_000}),
    "truncated-rhg": ({10_000}, {1000, 10_000}),
    "bda": (set(), {1000, 10_000}),
    "alternating": (set(), set()),
}


@pytest.mark.parametrize("n", [1, 10, 1000, 10_000])
@pytest.mark.parametrize("name", SOLVERS)
def test_which_solver_finds_the_optimum_of_the_toy_problem(name: str, n: int) -> None:
    """From equal starts; the error of the others does not go away with more outer steps (at 10^4 slowly)."""
    best = ((1 - n) * 2 + n * 1.5 * math.pi) / (1 + n)
    for steps, outer, reached in zip((1, 20), (120, 25), REACHES[name], strict=True):
        if n == 10_000 and n not in reached:
            continue
        pair, solver = Toy(3.0, torch.full((n,), 3.0)), SOLVERS[name]
        optimizers = [optim.SGD(pair.theta, lr=0.2 / (1 + n)), optim.SGD(pair.omega, lr=0.5)]
        state, errors = solver.init(pair, optimizers), []
        for _ in range(outer):
            state, _ = solver.step(pair, state, Batches(None, [None], steps))
            errors.append(abs(pair.theta[0].item() - best) / best)
        assert (max(errors[-3:]) <= REACHED) is (n in reached), (steps, errors[-1])
        if (name, n) == ("alternating", 1):
            assert pair.theta[0].item() == pytest.approx(2.0, rel=1e-2)  # theta* is 3 pi / 4 = 2.36


@pytest.mark.parametrize(("spread", "exact"), [(0.0, True), (3.0, False)])
@pytest.mark.parametrize("steps", [1, 20])
def test_toy_response_is_exact_from_equal_starts_only(spread: float, exact: bool, steps: int) -> None:
    start = 3 + spread * torch.linspace(-1, 1, 100, dtype=torch.float64)
    pair = Toy(3.0, start)
    run(Lwcl(), pair, Batches(None, [None], steps))
    x, omega = torch.tensor(3.0, dtype=torch.float64), pair.omega[0].detach()
    response = pair.theta[0].grad - 2 * (x - 2)
    true = -(2 * (omega - 4)).sum()  # d omega_i / d theta = -1
    ratio = (response / true).item()
    assert (abs(ratio - 1) < 1e-9) is exact
    if not exact:
        assert abs(ratio - 1) > 0.3


def test_an_upper_energy_may_see_theta_through_the_response_alone() -> None:
    """Hyper-parameter learning: F_upper(omega) has no direct term, which is logged as zero."""
    pair = Toy(3.0, torch.full((4,), 3.0))
    pair.upper = lambda _x, omega, _batch: (omega[0] - 4).square().sum()
    _, logs = run(Ibgl(), pair, Batches(None, [None], 2))
    assert logs["direct_norm"] == 0
    assert pair.theta[0].grad.item() == pytest.approx(-(2 * (pair.omega[0] - 4)).sum().item(), rel=1e-12)
    with refused("bilevel.no-direct-gradient", "F_upper"):
        run(Alternating(), pair, Batches(None, [None]))


def test_exact_zero_of_the_lower_gradient_drops_the_response() -> None:
    pair = Toy(0.0, torch.full((3,), 1.0))
    pair.lower = lambda x, omega, _: (omega[0] - 1).square().sum() * (1 + x[0] ** 2)
    state, logs = run(Ibgl(), pair, Batches(None, [None], 2))
    assert (logs["g_lower"], logs["s"], logs["response_norm"]) == (0, 0, 0)
    assert pair.theta[0].grad.item() == -4.0  # the direct term 2 (theta - 2)
    assert not state.history
