"""Three levels whose optimum is known in closed form, stepped by every solver of two."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from restore_hub.bilevel import NestedPair, Responding, Tensors, evaluations
from restore_hub.bilevel.solvers import Alternating, Cg, F2sa, Ibgl, Neumann, Rhg, TruncatedRhg
from restore_hub.contracts import Batches

SIZE, MU, DECAY = 3, 2.0, 0.5
generator = torch.Generator().manual_seed(0)
A, B, D = (torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64) / 2 for _ in range(3))
C, TARGET = (torch.randn(SIZE, generator=generator, dtype=torch.float64) for _ in range(2))


def _leaf() -> Tensor:
    return torch.zeros(SIZE, dtype=torch.float64, requires_grad=True)


class Three:
    """Quadratic energies of theta, omega and w.

    F1 = |omega - d|^2 / 2 + decay |theta|^2 / 2, F2 = g(w) + mu |omega - D theta|^2 / 2,
    F3 = |w - A omega - B theta|^2 / 2.

    With g(w) = <c, w> nothing is dropped: the response of w is constant. With g(w) = |w - c|^2 / 2 it isn't.
    """

    def __init__(self, quadratic: bool) -> None:
        self.theta, self.omega, self.w, self.quadratic = _leaf(), _leaf(), _leaf(), quadratic
        self.settled: Tensor | None = None

    def second(self, theta: Tensor, omega: Tensor, w: Tensor) -> Tensor:
        g = (w - C).square().sum() / 2 if self.quadratic else (C * w).sum()
        return g + MU * (omega - D @ theta).square().sum() / 2

    def omega_of(self, theta: Tensor) -> Tensor:
        """Return where level 2 is stationary with the response of level 3."""
        pull = A.T @ (C - B @ theta) if self.quadratic else -A.T @ C
        curvature = MU * torch.eye(SIZE, dtype=torch.float64) + (A.T @ A if self.quadratic else 0)
        return torch.linalg.solve(curvature, pull + MU * D @ theta)

    def optimum(self) -> Tensor:
        """Return where level 1 is stationary, decay theta + D^T (omega - d) = 0: omega responds at a constant r."""
        eye = torch.eye(SIZE, dtype=torch.float64)
        zero = self.omega_of(torch.zeros(SIZE, dtype=torch.float64))
        slope = torch.stack([self.omega_of(e) - zero for e in eye], dim=1)
        return torch.linalg.solve(DECAY * eye + D.T @ slope, D.T @ (TARGET - zero))


class Top:
    """Levels 1 and 2."""

    def __init__(self, three: Three) -> None:
        self.three, self.theta, self.omega = three, (three.theta,), (three.omega,)
        self.theta_names, self.omega_names = ("theta",), ("omega",)

    def couple(self, batch: Any) -> Tensors:
        return self.theta

    def upper(self, x: Tensors, omega: Tensors, batch: Any) -> Tensor:
        return (omega[0] - TARGET).square().sum() / 2 + DECAY * x[0].square().sum() / 2

    def lower(self, x: Tensors, omega: Tensors, batch: Any) -> Tensor:
        w = self.three.settled
        return self.three.second(x[0], omega[0], self.three.w.detach() if w is None else w)


class Bottom:
    """Levels 2 and 3."""

    def __init__(self, three: Three) -> None:
        self.three, self.theta, self.omega = three, (three.omega,), (three.w,)
        self.theta_names, self.omega_names = ("omega",), ("w",)

    def couple(self, batch: Any) -> Tensors:
        return self.theta

    def upper(self, x: Tensors, omega: Tensors, batch: Any) -> Tensor:
        return self.three.second(self.three.theta.detach(), x[0], omega[0])

    def lower(self, x: Tensors, omega: Tensors, batch: Any) -> Tensor:
        return (omega[0] - A @ x[0] - B @ self.three.theta.detach()).square().sum() / 2


def _nested(three: Three, solver: Any) -> NestedPair:
    bottom = Bottom(three)
    responding = Responding(bottom.theta)
    state = solver.init(bottom, [responding, torch.optim.SGD(bottom.omega, lr=1.0)])

    def move(_: Tensors, batch: Any) -> Tensors:
        solver.step(bottom, state, Batches(batch, [object()], 1))
        three.settled = three.w.detach().clone()
        return responding.response or ()

    return NestedPair(Top(three), move)


@pytest.mark.parametrize("quadratic", [False, True])
@pytest.mark.parametrize(
    "make",
    [lambda: Cg(iterations=SIZE), lambda: Neumann(iterations=60, rate=0.3), Rhg, lambda: TruncatedRhg(last=15)],
    ids=["cg", "neumann", "rhg", "truncated-rhg"],
)
def test_solvers_of_two_levels_reach_the_optimum_of_three(make: Callable[[], Any], quadratic: bool) -> None:
    """Level 3 is solved in one step; its response is exact, so level 2 settles where the closed form says."""
    three = Three(quadratic)
    pair = _nested(three, Cg(iterations=SIZE))
    optimizers = [torch.optim.SGD(pair.theta, lr=0.5), torch.optim.SGD(pair.omega, lr=0.25)]
    solver = make()
    state = solver.init(pair, optimizers)
    for _ in range(60):
        state, logs = solver.step(pair, state, Batches(object(), [object()], 16))
    torch.testing.assert_close(three.theta.detach(), three.optimum(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(three.omega.detach(), three.omega_of(three.theta.detach()), rtol=1e-4, atol=1e-4)
    # The value is that of F2, without the linear term of the response.
    value = three.second(three.theta, three.omega, three.w).item()
    assert float(logs["loss/lower"]) == pytest.approx(value, rel=1e-3)


def test_where_the_response_of_the_lowest_level_is_constant_nothing_is_dropped() -> None:
    """The optimum is that of the whole three-level problem, found here by differences of it."""
    three = Three(quadratic=False)

    def whole(theta: Tensor) -> float:
        return float((three.omega_of(theta) - TARGET).square().sum() / 2 + DECAY * theta.square().sum() / 2)

    at, eye = three.optimum(), torch.eye(SIZE, dtype=torch.float64)
    slopes = [(whole(at + 1e-5 * e) - whole(at - 1e-5 * e)) / 2e-5 for e in eye]
    assert slopes == pytest.approx([0.0] * SIZE, abs=1e-8)


@pytest.mark.parametrize("inner", [Cg, Rhg, F2sa, Ibgl, Alternating])
def test_each_lower_step_first_moves_what_is_below(inner: Any) -> None:
    three = Three(quadratic=True)
    three.theta.data.copy_(TARGET)
    pair = _nested(three, inner())
    solver = Alternating()
    state = solver.init(pair, [torch.optim.SGD(pair.theta, lr=0.0), torch.optim.SGD(pair.omega, lr=0.25)])
    seen = []
    settle = pair.settle

    def counted(x: Tensors, batch: Any) -> None:
        settle(x, batch)
        seen.append(three.w.detach().clone())

    pair.settle = counted  # type: ignore[method-assign]
    solver.step(pair, state, Batches(object(), [object()], 4))
    assert len(seen) == 4
    assert all(not torch.equal(one, other) for one, other in pairwise(seen))


@pytest.mark.parametrize("inner", [lambda: Cg(iterations=SIZE), Rhg])
def test_noise_in_the_energy_between_is_not_in_the_response(inner: Callable[[], Any]) -> None:
    """Dropout makes the slope of F2 by omega another one in each call; r = A^T (w - c) has no share in it."""
    three = Three(quadratic=True)
    plain = three.second
    three.second = lambda theta, omega, w: plain(theta, omega, w) + (torch.randn(SIZE) * omega).sum()  # type: ignore[method-assign]
    three.omega.data.copy_(TARGET)
    pair = _nested(three, inner())
    pair.settle(pair.theta, object())
    three.second = plain  # type: ignore[method-assign]
    (found,) = torch.autograd.grad(pair.lower(pair.theta, pair.omega, object()), pair.omega)
    partial = MU * (three.omega - D @ three.theta).detach()
    torch.testing.assert_close(found, partial + A.T @ (three.w - C).detach(), rtol=1e-9, atol=1e-9)


def test_the_cost_of_nested_levels() -> None:
    """3 steps of level 2: `cg` with 5 products costs 3 + 2 + 5, and each step 2 + 1 below."""
    assert evaluations([Cg(iterations=5), Alternating()], [3, 2]) == 3 + 2 + 5 + 3 * (2 + 1)
    assert evaluations([Alternating()], [2]) == 3
