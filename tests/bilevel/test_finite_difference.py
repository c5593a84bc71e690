from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import optim

from restore_hub.bilevel import along, cosine, descend, evaluate, finite_difference, norm, preconditioner
from restore_hub.contracts import Batches
from support import refused

RATE = 0.037


def distance(a: Any, b: Any) -> float:
    return norm([p - q for p, q in zip(a, b, strict=True)]) / norm(b)


def exact_response(chain: Any, x: Any, before: Any, diagonal: Any, batches: Any) -> Any:
    """Double backward through omega'(x) = omega - P g_l(x, omega), P held fixed, around the step that was taken."""
    x = tuple(t.detach().requires_grad_() for t in x)
    g_l = torch.autograd.grad(chain.lower(x, before, batches[0]), before, create_graph=True)
    moved = tuple(w.detach() - p * (g - g.detach()) for w, p, g in zip(chain.omega, diagonal, g_l, strict=True))
    x_upper = tuple(t.detach() for t in chain.couple(batches[1]))
    return torch.autograd.grad(chain.upper(x_upper, moved, batches[1]), x)


def take_step(chain: Any, optimizer: optim.Optimizer, batches: Any) -> tuple[Any, Any, Any]:
    """Take one lower step; return x, omega before it, and v at the stepped omega."""
    before = tuple(w.detach().clone().requires_grad_() for w in chain.omega)
    x = descend(chain, optimizer, Batches(batches[1], [batches[0]]), graph=False).x
    return x, before, evaluate(chain, "upper", chain.couple(batches[1]), chain.omega, batches[1]).omega


def both(chain: Any, optimizer: Any, diagonal: Any, batches: Any, radius: float = 0.01) -> tuple[Any, Any]:
    """Return the finite-difference response of one step, and the exact one."""
    x, before, v = take_step(chain, optimizer, batches)
    direction = along(preconditioner(optimizer, chain.omega), v)
    found = finite_difference(chain, x, before, direction, batches[0], radius)
    return found, exact_response(chain, x, before, diagonal, batches)


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_sgd_response_is_that_of_exact_double_backward(chain: Any, make_batch: Any, weight_decay: float) -> None:
    optimizer = optim.SGD(chain.omega, lr=RATE, weight_decay=weight_decay)
    found, exact = both(chain, optimizer, (RATE, RATE), (make_batch(0), make_batch(1)))
    assert distance(found.x, exact) < 2e-4
    assert found.norm == pytest.approx(norm(exact), rel=2e-4)


def test_error_falls_with_the_square_of_the_radius(chain: Any, make_batch: Any) -> None:
    errors = []
    for radius in (0.1, 0.01):
        fresh = type(chain)()
        found, exact = both(
            fresh, optim.SGD(fresh.omega, lr=RATE), (RATE, RATE), (make_batch(0), make_batch(1)), radius
        )
        errors.append(distance(found.x, exact))
    assert 80 < errors[0] / errors[1] < 120


@pytest.mark.parametrize("kind", [optim.Adam, optim.AdamW])
def test_warm_adam_response_uses_its_diagonal(chain: Any, make_batch: Any, kind: Any) -> None:
    batches = make_batch(0), make_batch(1)
    rate, beta1, beta2, eps = 3e-3, 0.6, 0.99, 1e-3
    optimizer = kind(chain.omega, lr=rate, betas=(beta1, beta2), eps=eps)
    m, v = ([torch.zeros_like(w) for w in chain.omega] for _ in range(2))
    for _ in range(100):
        g_l = descend(chain, optimizer, Batches(None, [batches[0]]), graph=False).omega_grad
        m = [beta1 * a + (1 - beta1) * g for a, g in zip(m, g_l, strict=True)]
        v = [beta2 * a + (1 - beta2) * g**2 for a, g in zip(v, g_l, strict=True)]
    x, before, v_upper = take_step(chain, optimizer, batches)
    x = tuple(t.detach().requires_grad_() for t in x)
    g = torch.autograd.grad(chain.lower(x, before, batches[0]), before, create_graph=True)

    def responses(second_moment_answers: bool) -> Any:
        """The response through Adam's own formula, with or without the dependence of its denominator on x."""
        total = torch.zeros((), dtype=torch.float64)
        for a, b, h, u in zip(m, v, g, v_upper, strict=True):
            first = (beta1 * a + (1 - beta1) * h) / (1 - beta1**101)
            second = (beta2 * b + (1 - beta2) * (h if second_moment_answers else h.detach()) ** 2) / (1 - beta2**101)
            total = total - (u * rate * first / (second.sqrt() + eps)).sum()
        return torch.autograd.grad(total, x, retain_graph=True)

    found = finite_difference(chain, x, before, along(preconditioner(optimizer, chain.omega), v_upper), batches[0]).x
    assert distance(found, responses(False)) < 2e-4
    whole = responses(True)
    assert cosine(found, whole) > 0.999
    assert norm(found) / norm(whole) == pytest.approx(1, abs=0.05)


def test_quadratic_has_no_truncation_error(quadratic: Any) -> None:
    """F_lower = w'Aw/2 - x'Bw: R = B d exactly, at any radius."""
    d = torch.tensor([0.3, -1.0, 2.0, 0.1], dtype=torch.float64)
    for radius in (1e-3, 5.0):
        found = finite_difference(quadratic, quadratic.theta, quadratic.omega, (d,), None, radius)
        torch.testing.assert_close(found.x[0], quadratic.B @ d, rtol=1e-9, atol=0)


def test_the_printed_direction_and_a_stepped_centre_are_worse(chain: Any, make_batch: Any) -> None:
    batches, rate = (make_batch(0), make_batch(1)), 0.3
    x, before, v = take_step(chain, optim.SGD(chain.omega, lr=rate), batches)
    exact = exact_response(chain, x, before, (rate, rate), batches)
    d = tuple(rate * g for g in v)
    corrected = distance(finite_difference(chain, x, before, d, batches[0]).x, exact)
    stepped = distance(finite_difference(chain, x, chain.omega, d, batches[0]).x, exact)
    g_l = evaluate(chain, "lower", x, before, batches[0]).omega
    printed = distance(finite_difference(chain, x, before, tuple(rate * g for g in g_l), batches[0]).x, exact)
    assert corrected < 2e-4
    assert stepped > 100 * corrected
    assert printed > 1  # worse than dropping the term


def test_differences_are_float32_inside_autocast() -> None:
    g = torch.Generator().manual_seed(2)
    x, omega = torch.randn(16, 8, generator=g), torch.randn(8, 8, generator=g)
    direction = torch.randn(8, 8, generator=g)
    pair = type("", (), {"omega_names": ("w",)})()
    pair.lower = lambda x, w, _: torch.tanh(x[0] @ w[0]).square().sum()
    exact = finite_difference(pair, (x.double(),), (omega.double(),), (direction.double(),), None).x
    with torch.autocast("cpu", torch.bfloat16):
        seen = finite_difference(pair, (x,), (omega,), (direction,), None).x
        narrow = finite_difference(pair, (x.bfloat16(),), (omega,), (direction,), None).x
        assert torch.is_autocast_enabled("cpu")
    assert seen[0].dtype == narrow[0].dtype == torch.float32
    assert distance([seen[0].double()], exact) < 1e-3
    same_x = finite_difference(pair, (x.bfloat16().double(),), (omega.double(),), (direction.double(),), None).x
    assert distance([narrow[0].double()], same_x) < 1e-3


def test_both_ends_draw_the_same_random_numbers(chain: Any, make_batch: Any) -> None:
    batch, d = make_batch(0), tuple(torch.ones_like(w) for w in chain.omega)
    x = chain.couple(batch)
    plain = finite_difference(chain, x, chain.omega, d, batch).x
    lower = chain.lower
    chain.lower = lambda x, w, b: lower(x, w, b) + (torch.rand_like(x[0]) * x[0]).sum()
    noisy = finite_difference(chain, x, chain.omega, d, batch).x
    assert distance(noisy, plain) < 1e-12


def test_a_zero_direction_gives_no_response(chain: Any, make_batch: Any) -> None:
    batch = make_batch(0)
    found = finite_difference(chain, chain.couple(batch), chain.omega, tuple(0 * w for w in chain.omega), batch)
    assert found.norm == 0
    assert not any(bool(t.any()) for t in found.x)


def test_errors_say_what_is_wrong(chain: Any, make_batch: Any) -> None:
    batch = make_batch(0)
    x = chain.couple(batch)
    with refused("bilevel.not-positive", "radius"):
        finite_difference(chain, x, chain.omega, chain.omega, batch, 0.0)
    chain.lower = lambda _x, w, _b: w[0].sum()
    with refused("bilevel.no-gradient", "F_lower", group="x"):
        finite_difference(chain, x, chain.omega, chain.omega, batch)
