"""Outer steps on the fast path, against plain implementations that keep theta in the graph."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, optim

from restore_hub.bilevel.solvers import Alternating, Cg, Ibgl, Lwcl, Neumann, Rhg, Tbgl, TruncatedRhg
from restore_hub.contracts import Batches
from support.level_pair import RATE, Chain, differences, dot, feed, grads, run, step

TWO_LEVELS = [Alternating, Tbgl, Ibgl, Lwcl]


def plain(kind: type, pair: Any, batches: Batches) -> list[Tensor]:
    """The hypergradient with theta in every graph: no coupling, no detaching, lower steps by hand."""

    def f_lower(omega: Any, data: Any) -> Tensor:
        return pair.lower(pair.couple(data), omega, data)

    omega = [w.detach().clone().requires_grad_() for w in pair.omega]
    last = batches.lower[-1]
    for i in range(batches.steps):
        before = omega
        g = grads(f_lower(omega, batches.lower[i] if len(batches.lower) > 1 else last), omega)
        omega = [(w - RATE * h).detach().requires_grad_() for w, h in zip(omega, g, strict=True)]
    f_upper = pair.upper(pair.couple(batches.upper), omega, batches.upper)
    direct, v = grads(f_upper, pair.theta), grads(f_upper, omega)
    if kind is Alternating:
        return direct
    if kind is Tbgl:
        eps = 0.01 / (RATE * dot(v, v).sqrt())
        ends = []
        for sign in (1, -1):
            point = [(w + sign * eps * RATE * h).detach() for w, h in zip(before, v, strict=True)]
            ends.append(grads(f_lower(point, last), pair.theta))
        return [d - (p - m) / (2 * eps) for d, p, m in zip(direct, *ends, strict=True)]
    lower = f_lower(omega, last)
    g_l, t = grads(lower, omega), grads(lower, pair.theta)
    return [d - dot(g_l, v) / dot(g_l, g_l) * h for d, h in zip(direct, t, strict=True)]


@pytest.mark.parametrize("case", ["shared", "one", "fresh"])
@pytest.mark.parametrize("kind", TWO_LEVELS)
def test_fast_path_equals_the_plain_implementation(kind: Any, case: str) -> None:
    batches = feed(case, 1 if kind is Tbgl else 3)
    expected = plain(kind, Chain(), batches)
    pair = Chain()
    start = [t.detach().clone() for t in pair.theta]
    run(kind(), pair, batches)
    for t, old, g in zip(pair.theta, start, expected, strict=True):
        scale = g.abs().max().item()
        torch.testing.assert_close(t.grad, g, rtol=1e-12, atol=1e-12 * scale)
        torch.testing.assert_close(t.detach(), old - 0.3 * t.grad, rtol=1e-14, atol=1e-15)


def test_tbgl_is_the_derivative_through_its_lower_step() -> None:
    """Finite differences of theta -> F_upper(theta, omega - eta g_l(theta, omega)), with no autograd in theta."""
    pair, batches = Chain(), feed("one", 1)
    data = batches.lower[0]

    def value() -> float:
        with torch.no_grad():
            x = pair.couple(data)
        omega = [w.detach().requires_grad_() for w in pair.omega]
        stepped = [w - RATE * g for w, g in zip(omega, grads(pair.lower(x, omega, data), omega), strict=True)]
        with torch.no_grad():
            return pair.upper(pair.couple(batches.upper), stepped, batches.upper).item()

    exact = differences(pair, value)
    run(Tbgl(), pair, batches)
    found = torch.cat([t.grad.flatten() for t in pair.theta])
    assert (found - exact).norm() / exact.norm() < 2e-5
    direct = torch.cat([g.flatten() for g in plain(Alternating, Chain(), batches)])
    assert (direct - exact).norm() / exact.norm() > 5e-3  # the response matters here


@pytest.mark.parametrize("damping", [0.0, 0.4])
@pytest.mark.parametrize("kind", [Cg, Neumann])
def test_implicit_solvers_use_their_options(quadratic: Any, kind: Any, damping: float) -> None:
    """F_lower = w'Aw/2 - x'Bw: R = B z, with z by closed form, or by a few terms of the series."""
    A, B, D, e = quadratic.A, quadratic.B, quadratic.D, quadratic.e
    eye, x = torch.eye(4, dtype=torch.float64), quadratic.theta[0].detach().clone()
    omega = quadratic.omega[0].detach()
    for _ in range(2):
        omega = omega - 0.05 * (A @ omega - B.T @ x)
    if kind is Cg:
        solver = Cg(iterations=30, damping=damping, tolerance=1e-13)
        z = torch.linalg.solve(A + damping * eye, omega - e)
    else:
        solver = Neumann(iterations=3, rate=0.1, damping=damping)
        part = eye - 0.1 * (A + damping * eye)
        z = 0.1 * (eye + part + part @ part) @ (omega - e)
    logs = step(solver, quadratic, 0.05, 2)
    torch.testing.assert_close(quadratic.theta[0].grad, D @ x + B @ z, rtol=1e-9, atol=1e-11)
    left = omega - e - (A + damping * eye) @ z if kind is Cg else part @ part @ (omega - e)  # before the last term
    residual = left.norm() / (omega - e).norm()
    assert logs["residual"] == pytest.approx(residual.item(), abs=1e-9)
    assert logs["negative_curvature"] == 0
    assert logs["g_lower"] == pytest.approx((A @ omega - B.T @ x).norm().item())


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.RMSprop])
@pytest.mark.parametrize("solver", [Cg(iterations=30, tolerance=1e-13), Neumann(iterations=4000, rate=0.02)])
def test_weight_decay_of_the_lower_optimizer_is_part_of_the_curvature(quadratic: Any, solver: Any, kind: Any) -> None:
    """With decay the lower level settles where (A + decay I) w = B'x, and no more where F_lower is least."""
    A, B, D, e = quadratic.A, quadratic.B, quadratic.D, quadratic.e
    x, curvature = quadratic.theta[0].detach().clone(), A + 0.5 * torch.eye(4, dtype=torch.float64)
    omega = torch.linalg.solve(curvature, B.T @ x)
    quadratic.omega[0].data.copy_(omega)
    exact = D @ x + B @ torch.linalg.solve(curvature, omega - e)
    step(solver, quadratic, kind(quadratic.omega, lr=1e-12, weight_decay=0.5))
    torch.testing.assert_close(quadratic.theta[0].grad, exact, rtol=1e-9, atol=1e-9)


class Decaying(optim.Optimizer):
    """Shrinks the weights beside the gradient, under the usual name, as many optimizers outside of torch do."""

    def __init__(self, variables: Any, lr: float, weight_decay: float) -> None:
        super().__init__(variables, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for w in group["params"]:
                w.mul_(1 - group["lr"] * group["weight_decay"]).sub_(w.grad, alpha=group["lr"])


def test_decays_go_by_tensor_whatever_the_order_of_the_groups(quadratic: Any) -> None:
    """omega in two halves, of which one decays."""
    whole = quadratic.omega[0].detach()
    first, second = (part.clone().requires_grad_() for part in (whole[:1], whole[1:]))
    lower, upper = quadratic.lower, quadratic.upper
    quadratic.lower = lambda x, omega, batch: lower(x, (torch.cat(omega),), batch)
    quadratic.upper = lambda x, omega, batch: upper(x, (torch.cat(omega),), batch)
    quadratic.omega, quadratic.omega_names = (first, second), ("first", "second")
    groups = [{"params": [second], "weight_decay": 0.7}, {"params": [first], "weight_decay": 0.0}]
    step(Cg(iterations=30, tolerance=1e-13), quadratic, optim.SGD(groups, lr=1e-15))
    A, B, D, e, x = quadratic.A, quadratic.B, quadratic.D, quadratic.e, quadratic.theta[0].detach()
    curvature = A + 0.7 * torch.diag(torch.tensor([0.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    exact = D @ x + B @ torch.linalg.solve(curvature, whole - e)
    torch.testing.assert_close(quadratic.theta[0].grad, exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", [optim.AdamW, partial(optim.NAdam, decoupled_weight_decay=True), Decaying])
def test_decay_that_is_no_part_of_the_gradient_is_none_of_the_curvature(quadratic: Any, kind: Any) -> None:
    found = []
    for decay in (0.0, 0.5):
        lower = kind(quadratic.omega, lr=1e-14, weight_decay=decay)
        step(Cg(iterations=30, tolerance=1e-13), quadratic, lower)
        found.append(quadratic.theta[0].grad.clone())
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)


def test_the_rate_of_the_series_is_that_of_the_lower_optimizer_now(quadratic: Any) -> None:
    found = []
    for solver, rate in ((Neumann(rate=0.02), 0.05), (Neumann(), 0.02)):
        pair = copy.deepcopy(quadratic)
        optimizers = [optim.SGD(pair.theta, lr=0.1), optim.SGD(pair.omega, lr=0.5)]
        state = solver.init(pair, optimizers)
        optimizers[1].param_groups[0]["lr"] = rate  # as a schedule sets it
        solver.step(pair, state, Batches(None, [None]))
        found.append((pair.theta[0].grad - pair.D @ quadratic.theta[0].detach(), pair.omega[0].detach()))
    assert not torch.equal(found[0][1], found[1][1])
    B, e = quadratic.B, quadratic.e
    for response, omega in found:
        powers = [
            torch.linalg.matrix_power(torch.eye(4, dtype=torch.float64) - 0.02 * quadratic.A, i) for i in range(20)
        ]
        torch.testing.assert_close(response, 0.02 * B @ sum(powers) @ (omega - e), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("condition", [10.0, 1e4])
@pytest.mark.parametrize(("solver", "terms"), [(Rhg(), 40), (TruncatedRhg(7), 7)])
def test_reverse_mode_on_a_quadratic(quadratic: Any, solver: Any, terms: int, condition: float) -> None:
    """K = 40 steps of size eta, the last T in the graph: R = eta B sum_i (I - eta A)^i g_u, i = 0 .. T - 1."""
    q = torch.linalg.qr(quadratic.A).Q
    quadratic.A = q @ torch.diag(torch.tensor([1 / condition, 0.01, 0.3, 1.0], dtype=torch.float64)) @ q.T
    B, part = quadratic.B, torch.eye(4, dtype=torch.float64) - 0.9 * quadratic.A
    x, omega = quadratic.theta[0].detach().clone(), quadratic.omega[0].detach().clone()
    for _ in range(40):
        omega = omega - 0.9 * (quadratic.A @ omega - B.T @ x)
    powers = [torch.linalg.matrix_power(part, i) for i in range(terms)]
    step(solver, quadratic, 0.9, 40)
    expected = quadratic.D @ x + 0.9 * B @ sum(powers) @ (omega - quadratic.e)
    torch.testing.assert_close(quadratic.theta[0].grad, expected, rtol=1e-10, atol=1e-12)
