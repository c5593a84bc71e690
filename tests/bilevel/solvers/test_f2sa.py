"""The fully first-order solver: its copies, its bias, its state."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import optim

from restore_hub.bilevel import Start
from restore_hub.bilevel.solvers import Cg, F2sa
from restore_hub.contracts import Batches
from support.level_pair import Chain, feed, grads


def test_a_step_is_the_one_written_in_the_paper(quadratic: Any) -> None:
    """F_lower = w'Aw/2 - x'Bw and F_upper = |w - e|^2/2 + x'Dx/2, three lower steps, all by hand."""
    A, B, D, e = quadratic.A, quadratic.B, quadratic.D, quadratic.e
    x = quadratic.theta[0].detach().clone()
    omega = y = quadratic.omega[0].detach().clone()
    for _ in range(3):
        y = y - 0.05 * (A @ y - B.T @ x + (y - e) / 7)
        omega = omega - 0.05 * (A @ omega - B.T @ x)
    response = 7 * (-B @ y + B @ omega)
    solver = F2sa(penalty=7.0)
    state = solver.init(quadratic, [optim.SGD(quadratic.theta, lr=0.1), optim.SGD(quadratic.omega, lr=0.05)])
    state, logs = solver.step(quadratic, state, Batches(None, [None], 3))
    torch.testing.assert_close(quadratic.omega[0].detach(), omega)
    torch.testing.assert_close(state.copy[0], y)
    torch.testing.assert_close(quadratic.theta[0].grad, D @ x + response)
    assert logs["loss/upper"].item() == pytest.approx((0.5 * (y - e) @ (y - e) + 0.5 * x @ D @ x).item())
    assert logs["response_norm"] == pytest.approx(response.norm().item())


@pytest.mark.parametrize("steps", [1, 5])
def test_the_bias_falls_with_the_penalty_and_the_lag_with_the_steps(quadratic: Any, steps: int) -> None:
    """At a theta that rests, the hypergradient becomes the exact one as lambda grows, however few the lower steps."""
    errors, first = [], []
    well_conditioned(quadratic)
    for penalty in (1e1, 1e2, 1e3):
        solver, pair = F2sa(penalty), copy.deepcopy(quadratic)
        state = solver.init(pair, [optim.SGD(pair.theta, lr=0.0), optim.SGD(pair.omega, lr=0.2)])
        found = []
        for _ in range(400 // steps):
            state, _ = solver.step(pair, state, Batches(None, [None], steps))
            found.append(pair.theta[0].grad.clone())
        inverse = torch.linalg.inv(pair.A)
        g_u = inverse @ pair.B.T @ pair.theta[0].detach() - pair.e
        exact = pair.D @ pair.theta[0].detach() + pair.B @ inverse @ g_u
        errors.append(((found[-1] - exact).norm() / exact.norm()).item())
        first.append(((found[0] - exact).norm() / exact.norm()).item())
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert errors[2] < 0.02
    assert min(first) > 0.1


def test_copies_keep_apart_what_the_optimizer_remembers() -> None:
    """Adam steps both copies; each as if it had an optimizer of its own."""
    pair, solver, batches = Chain(), F2sa(5.0), feed("one", 1)
    state = solver.init(pair, [optim.SGD(pair.theta, lr=0.0), optim.Adam(pair.omega, lr=0.05)])
    drawn = tuple(w.detach().clone().requires_grad_() for w in pair.omega)
    apart = optim.Adam(drawn, lr=0.05)
    places = [w.data_ptr() for w in pair.omega]
    for _ in range(4):
        x, x_upper = ([t.detach() for t in pair.couple(b)] for b in (batches.lower[0], batches.upper))
        low = grads(pair.lower(x, drawn, batches.lower[0]), drawn)
        for w, g, u in zip(drawn, low, grads(pair.upper(x_upper, drawn, batches.upper), drawn), strict=True):
            w.grad = g + u / 5
        apart.step()
        state, _ = solver.step(pair, state, batches)
    torch.testing.assert_close(state.copy, tuple(w.detach() for w in drawn), rtol=1e-12, atol=1e-14)
    assert [w.data_ptr() for w in pair.omega] == places
    assert all(state.optimizers[1].state[w]["step"] == 4 for w in pair.omega)


def test_one_lower_step_finds_the_optimum_that_cg_finds(quadratic: Any) -> None:
    well_conditioned(quadratic)
    inverse = torch.linalg.inv(quadratic.A)
    M = quadratic.B @ inverse  # omega = M' theta
    best = torch.linalg.solve(M @ M.T + quadratic.D, M @ quadratic.e)
    for solver, rtol in ((Cg(), 1e-4), (F2sa(penalty=100.0), 2e-2)):
        pair = copy.deepcopy(quadratic)
        state = solver.init(pair, [optim.SGD(pair.theta, lr=0.03), optim.SGD(pair.omega, lr=0.2)])
        for _ in range(600):
            state, _ = solver.step(pair, state, Batches(None, [None]))
        assert (pair.theta[0] - best).norm() <= rtol * best.norm()


def well_conditioned(quadratic: Any) -> None:
    """Let the least curvatures be 1, so that few steps suffice."""
    quadratic.A = quadratic.A + torch.eye(4, dtype=torch.float64)
    quadratic.D = quadratic.D + torch.eye(3, dtype=torch.float64)


def test_a_restart_forgets_the_copy() -> None:
    """With cold restarts, the second step on the same theta and batches is the first one again."""
    pair, solver, batches = Chain(), F2sa(), feed("one", 3)
    state = solver.init(pair, [optim.SGD(pair.theta, lr=0.0), optim.Adam(pair.omega, lr=0.05)])
    start, found = Start(state.optimizers[1]), []
    for cold in (False, True, False):
        if cold:
            start.restore(state)
        state, _ = solver.step(pair, state, batches)
        found.append(torch.cat([t.grad.flatten() for t in pair.theta]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])
