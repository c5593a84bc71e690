from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from restore_hub.bilevel import Gradients, check_zero_sum, evaluate, norm_cap, outer_product
from support import refused
from support.level_pair import draw


def test_response_is_eq_8_at_any_scale_of_the_lower_energy() -> None:
    g_l, g_u, t = draw(0, (4, 2), (3,)), draw(1, (4, 2), (3,)), draw(2, (5,), (2, 2))
    a, b = (torch.cat([v.flatten() for v in group]) for group in (g_l, g_u))
    s = (a @ b / (a @ a)).item()
    for scale in (1.0, -3.0, 1e-12, 1e-150, 1e150):
        found = outer_product(tuple(scale * v for v in g_l), g_u, tuple(scale * v for v in t))
        assert found.s == pytest.approx(s / scale, rel=1e-13)
        for ours, plain in zip(found.x, t, strict=True):
            torch.testing.assert_close(ours, -s * plain, rtol=1e-13, atol=0)
        assert found.cosine == pytest.approx(torch.cosine_similarity(a * scale, b, dim=0, eps=0).item(), rel=1e-10)
        assert found.g_lower == pytest.approx(abs(scale) * a.norm().item(), rel=1e-13)
        length = torch.cat([v.flatten() for v in found.x]).norm().item()
        assert found.norm == found.raw_norm == pytest.approx(length, rel=1e-13)
        assert found.capped == 0


@pytest.mark.parametrize(
    ("lower", "upper", "direct"),
    [(1e-300, 1.0, 1e-300), (1e-300, 1e-300, 1e300), (1e-160, 1e160, 1e-160), (1e300, 1e300, 1e-300)],
)
def test_no_part_of_the_response_vanishes_or_overflows_on_the_way(lower: float, upper: float, direct: float) -> None:
    g_l, g_u, t_l = (torch.tensor(v, dtype=torch.float64) for v in ([3.0, 4.0], [4.0, 3.0], [1.0, -2.0]))
    expected = 0.96 * (upper / lower * direct if upper / lower <= 1 else upper * (direct / lower))
    for sign in (1, -1):
        found = outer_product((g_l * lower,), (sign * g_u * upper,), (t_l * direct,))
        torch.testing.assert_close(found.x[0], -sign * expected * t_l, rtol=1e-12, atol=0)
        assert found.norm == found.raw_norm == pytest.approx(expected * 5**0.5, rel=1e-12)
        assert found.s == pytest.approx(sign * 0.96 * upper / lower, rel=1e-12)


def test_response_is_exact_for_a_single_residual() -> None:
    """F_lower = (b'x + c'w - e)^2 / 2: the least-norm implicit gradient is -b <c, g_u> / |c|^2, wherever w is."""
    b, c, g_u = draw(5, (3,), (4,), (4,))
    residual = 0.37
    found = outer_product((residual * c,), (g_u,), (residual * b,))
    torch.testing.assert_close(found.x[0], -b * (c @ g_u) / (c @ c), rtol=1e-13, atol=0)


def test_response_of_a_quadratic_grows_as_the_lower_level_converges(quadratic: Any) -> None:
    """The measured caution: no general hypergradient, |R| goes like 1/|g_l| while the exact one stays."""
    sizes = []
    for steps in (0, 300, 3000):
        omega = quadratic.omega[0].detach().clone()
        for _ in range(steps):
            omega -= 0.05 * (quadratic.A @ omega - quadratic.B.T @ quadratic.theta[0].detach())
        lower, upper = (evaluate(quadratic, level, quadratic.theta, (omega,), None) for level in ("lower", "upper"))
        exact = quadratic.B @ torch.linalg.solve(quadratic.A, upper.omega[0])
        found = outer_product(lower.omega, upper.omega, lower.x)
        sizes.append((found.norm / exact.norm()).item() * found.g_lower)
        ratio = (found.norm / exact.norm()).item()
    assert ratio > 10
    assert 0.01 < sizes[2] / sizes[1] < 100


def test_exact_zero_of_the_lower_gradient_gives_no_response() -> None:
    g_u, t = draw(1, (4,)), draw(2, (3,))
    found = outer_product((torch.zeros(4, dtype=torch.float64),), g_u, t)
    assert found.x[0].tolist() == [0, 0, 0]
    assert (found.g_lower, found.s, found.norm, found.cosine) == (0, 0, 0, 0)


def test_a_zero_of_the_other_gradients_gives_no_response_and_no_nan() -> None:
    g_l, t = draw(1, (4,)), draw(2, (3,))
    zero_u = outer_product(g_l, (torch.zeros(4, dtype=torch.float64),), t)
    zero_t = outer_product(g_l, g_l, (torch.zeros(3, dtype=torch.float64),))
    assert zero_u.x[0].tolist() == zero_t.x[0].tolist() == [0, 0, 0]
    assert zero_u.cosine == 0
    assert zero_t.s == pytest.approx(1)


def test_limit_cuts_the_norm_and_keeps_the_direction() -> None:
    g_l, g_u, t = draw(0, (4,)), draw(1, (4,)), draw(2, (3,), (2,))
    free = outer_product(g_l, g_u, t)
    cut = outer_product(g_l, g_u, t, free.norm / 4)
    assert cut.capped == 1
    assert cut.raw_norm == free.norm
    assert cut.norm == pytest.approx(free.norm / 4)
    for a, b in zip(cut.x, free.x, strict=True):
        torch.testing.assert_close(4 * a, b)
    wide = outer_product(g_l, g_u, t, torch.tensor(torch.inf))
    assert wide.capped == 0
    torch.testing.assert_close(wide.x, free.x, rtol=0, atol=0)


def test_a_large_ratio_with_a_small_response_is_not_capped() -> None:
    """A correct response of the toy problem has s = 7.6e5: the bound is on |R|, never on |s|."""
    g_l, g_u, t = draw(0, (4,)), draw(1, (4,)), draw(2, (3,))
    tiny = 1e-9
    found = outer_product(tuple(tiny * v for v in g_l), g_u, tuple(tiny * v for v in t), torch.tensor(50.0))
    assert abs(found.s) > 1e7
    assert found.capped == 0


def test_history_bounds_by_its_running_median() -> None:
    history = norm_cap.new_history()
    for value in (3.0, 1.0, 2.0, 0.0, 5.0, 4.0, 1e9, 2.5):
        norm_cap.record(history, value)
        assert norm_cap.limit(history, 10.0) == math.inf
    norm_cap.record(history, 2.2)
    assert norm_cap.limit(history, 10.0) == 25.0  # median of 3 1 2 5 4 1e9 2.5 2.2: the zero says nothing
    for _ in range(norm_cap.WINDOW):
        norm_cap.record(history, 70.0)
    assert norm_cap.limit(history, 3.0) == pytest.approx(210.0)


@pytest.mark.parametrize(("factor", "offset"), [(-1.0, 3.0), (1.0, 0.0), (-0.1, 0.0)])
def test_proportional_energies_are_refused(chain: Any, make_batch: Any, factor: float, offset: float) -> None:
    batch = make_batch(0)
    chain.upper = lambda x, omega, b: factor * chain.lower(x, omega, b) + offset
    x = chain.couple(batch)
    lower, upper = (evaluate(chain, level, x, chain.omega, batch) for level in ("lower", "upper"))
    response = outer_product(lower.omega, upper.omega, lower.x)
    with refused("bilevel.zero-sum", factor=pytest.approx(factor)):
        check_zero_sum(lower, upper, response)


def test_other_pairs_are_not_taken_for_zero_sum(chain: Any, make_batch: Any) -> None:
    batch = make_batch(0)
    x = chain.couple(batch)
    lower, upper = (evaluate(chain, level, x, chain.omega, batch) for level in ("lower", "upper"))
    check_zero_sum(lower, upper, outer_product(lower.omega, upper.omega, lower.x))
    # An optimum with one lower variable: parallel gradients and no hypergradient, yet different energies.
    one = torch.ones(1, dtype=torch.float64)
    lower = Gradients(torch.tensor(-1.0), (1e-6 * one,), (1e-6 * one,))
    upper = Gradients(torch.tensor(0.5), (2 * one,), (2 * one,))
    response = outer_product(lower.omega, upper.omega, lower.x)
    assert (upper.x[0] + response.x[0]).item() == pytest.approx(0, abs=1e-12)
    check_zero_sum(lower, upper, response)
