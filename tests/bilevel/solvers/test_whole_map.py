"""Hypergradients against finite differences of theta -> F_upper(theta, omega_K(theta)), no autograd in theta."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, optim

from restore_hub.bilevel.solvers import Alternating, Bda, Cg, F2sa, Neumann, Rhg, TruncatedRhg
from restore_hub.contracts import Batches
from support.level_pair import Chain, differences, feed, grads, run, step

LOWER = {
    "sgd": lambda p: optim.SGD(p, lr=0.07),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.7, weight_decay=0.1),
    "adam": lambda p: optim.Adam(p, lr=0.05, betas=(0.8, 0.9), eps=1e-4),
    "adamw": lambda p: optim.AdamW(p, lr=0.05, weight_decay=0.1),
}


def gradient(pair: Any) -> Tensor:
    return torch.cat([t.grad.flatten() for t in pair.theta])


def walk(pair: Any, batches: Batches, lower: str, mixed: float = 0.0, frozen: Any = None) -> list[Tensor]:
    """Take the lower steps with torch's own optimizer, from the live omega, which stays; return omega_K."""
    omega = tuple(w.detach().clone().requires_grad_() for w in pair.omega)
    optimizer = LOWER[lower](omega)
    for k in range(batches.steps):
        batch = batches.lower[min(k, len(batches.lower) - 1)]
        x, x_upper = ([t.detach() for t in pair.couple(b)] for b in (batch, batches.upper))
        if frozen is not None and k < frozen[0]:
            x = [t.detach() for t in frozen[1].couple(batch)]
        g = grads(pair.lower(x, omega, batch), omega)
        share = mixed / (k + 1)
        g_u = grads(pair.upper(x_upper, omega, batches.upper), omega)
        for w, low, up in zip(omega, g, g_u, strict=True):
            w.grad = (1 - share) * low + share * up
        optimizer.step()
    return [w.detach() for w in omega]


def check(solver: Any, batches: Batches, lower: str, mixed: float = 0.0, frozen: int = 0) -> None:
    pair, still = Chain(), Chain()

    def value() -> float:
        omega = walk(pair, batches, lower, mixed, (frozen, still))
        with torch.no_grad():
            return pair.upper(pair.couple(batches.upper), omega, batches.upper).item()

    exact = differences(pair, value)
    expected = walk(pair, batches, lower, mixed)
    step(solver, pair, LOWER[lower](pair.omega), batches=batches)
    found = gradient(pair)
    assert (found - exact).norm() <= 2e-7 * exact.norm()
    for w, theirs in zip(pair.omega, expected, strict=True):
        torch.testing.assert_close(w.detach(), theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("case", ["shared", "one", "fresh"])
@pytest.mark.parametrize("lower", LOWER)
def test_rhg_is_the_derivative_of_the_whole_map(lower: str, case: str) -> None:
    check(Rhg(), feed(case, 3), lower)


@pytest.mark.parametrize("case", ["shared", "one", "fresh"])
@pytest.mark.parametrize(("lower", "weight"), [("sgd", 0.5), ("momentum", 0.2), ("adam", 0.9)])
def test_bda_is_the_derivative_of_the_whole_map(lower: str, weight: float, case: str) -> None:
    check(Bda(weight), feed(case, 3), lower, mixed=weight)


@pytest.mark.parametrize("case", ["one", "fresh"])
@pytest.mark.parametrize("lower", ["sgd", "adam"])
def test_truncated_rhg_takes_the_steps_before_for_constants(lower: str, case: str) -> None:
    if lower == "sgd":  # what Adam remembers of the steps before is constant, too
        check(TruncatedRhg(2), feed(case, 4), lower, frozen=2)
    check(TruncatedRhg(4), feed(case, 4), lower)


@pytest.mark.parametrize("lower", LOWER)
def test_truncated_rhg_that_keeps_all_is_rhg_to_the_bit(lower: str) -> None:
    found = []
    for solver in (Rhg(), TruncatedRhg(3), TruncatedRhg(9)):
        pair = Chain()
        state = solver.init(pair, [optim.SGD(pair.theta, lr=0.3), LOWER[lower](pair.omega)])
        for _ in range(2):
            state, _ = solver.step(pair, state, feed("fresh", 3))
        found.append(torch.cat([gradient(pair), *(w.detach().flatten() for w in pair.omega)]))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_what_the_optimizer_remembers_from_earlier_steps_is_part_of_the_map() -> None:
    """The second outer step of rhg begins with Adam's moments of the first."""
    pair, solver, batches = Chain(), Rhg(), feed("fresh", 2)
    state = solver.init(pair, [optim.SGD(pair.theta, lr=0.3), LOWER["adam"](pair.omega)])
    state, _ = solver.step(pair, state, batches)
    saved = copy.deepcopy(state.optimizers[1].state_dict())

    def value() -> float:
        omega = tuple(w.detach().clone().requires_grad_() for w in pair.omega)
        optimizer = LOWER["adam"](omega)
        optimizer.load_state_dict(copy.deepcopy(saved))
        for batch in batches.lower:
            for w, g in zip(
                omega, grads(pair.lower([t.detach() for t in pair.couple(batch)], omega, batch), omega), strict=True
            ):
                w.grad = g
            optimizer.step()
        with torch.no_grad():
            return pair.upper(pair.couple(batches.upper), omega, batches.upper).item()

    exact = differences(pair, value)
    solver.step(pair, state, batches)
    assert (gradient(pair) - exact).norm() <= 2e-7 * exact.norm()


EXACT = {
    "cg": (Cg(iterations=60, tolerance=1e-12), 1e-6),
    "neumann": (Neumann(iterations=400), 1e-6),
    "rhg": (Rhg(), 1e-6),
    "truncated": (TruncatedRhg(200), 1e-5),
    "f2sa": (F2sa(penalty=1e5), 1e-4),
}


@pytest.mark.parametrize("case", ["shared", "one"])
def test_all_exact_methods_agree_at_the_lower_optimum(case: str) -> None:
    """Many lower steps: each is the derivative of theta -> F_upper(theta, argmin F_lower), by differences."""
    batches, start = feed(case, 1), Chain()
    x = [t.detach() for t in start.couple(batches.lower[0])]
    for _ in range(300):
        for w, g in zip(start.omega, grads(start.lower(x, start.omega, batches.lower[0]), start.omega), strict=True):
            w.data -= 0.5 * g
    newton(start, batches.lower[0])
    reference = copy.deepcopy([t.detach() for t in start.omega])

    def value() -> float:
        for w, found in zip(start.omega, reference, strict=True):
            w.data.copy_(found)
        newton(start, batches.lower[0])
        with torch.no_grad():
            return start.upper(start.couple(batches.upper), start.omega, batches.upper).item()

    exact = differences(start, value)
    direct = Chain()
    for name, (solver, rtol) in EXACT.items():
        pair = Chain()
        for w, found in zip(pair.omega, reference, strict=True):
            w.data.copy_(found)
        step(solver, pair, 0.6, batches=Batches(batches.upper, batches.lower, 250))
        assert (gradient(pair) - exact).norm() <= rtol * exact.norm(), name
    for w, found in zip(direct.omega, reference, strict=True):
        w.data.copy_(found)
    run(Alternating(), direct, batches)
    assert (gradient(direct) - exact).norm() > 1e-2 * exact.norm(), "the response matters here"


def newton(pair: Any, batch: Any) -> None:
    """Bring omega from nearby to the optimum of F_lower."""
    x, shapes = [t.detach() for t in pair.couple(batch)], [w.shape for w in pair.omega]

    def energy(flat: Tensor) -> Tensor:
        parts = flat.split([shape.numel() for shape in shapes])
        return pair.lower(x, [part.view(shape) for part, shape in zip(parts, shapes, strict=True)], batch)

    flat = torch.cat([w.detach().flatten() for w in pair.omega])
    for _ in range(5):
        (g,) = torch.autograd.functional.jacobian(energy, (flat,))
        flat = flat - torch.linalg.solve(torch.autograd.functional.hessian(energy, flat), g)
    assert g.norm() < 1e-10
    for w, part in zip(pair.omega, flat.split([shape.numel() for shape in shapes]), strict=True):
        w.data.copy_(part.view_as(w))
