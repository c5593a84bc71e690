"""Linear systems and the implicit response, against closed forms."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch

from restore_hub.bilevel import conjugate_gradient, implicit, neumann_series
from support import refused


def system(condition: float, size: int = 30) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], Any]:
    """Return H of largest eigenvalue 1, a right-hand side in two tensors, and p -> H p."""
    g = torch.Generator().manual_seed(1)
    q = torch.linalg.qr(torch.randn(size, size, generator=g, dtype=torch.float64)).Q
    H = q @ torch.diag(torch.logspace(-math.log10(condition), 0, size, dtype=torch.float64)) @ q.T
    b = torch.randn(size, generator=g, dtype=torch.float64)
    return H, (b[:10].reshape(2, 5), b[10:]), lambda p: split(H @ flat(p))


def flat(p: Any) -> torch.Tensor:
    return torch.cat([t.flatten() for t in p])


def split(v: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return v[:10].reshape(2, 5), v[10:]


@pytest.mark.parametrize(("condition", "rtol"), [(10.0, 1e-11), (1e4, 1e-7)])
@pytest.mark.parametrize("damping", [0.0, 0.05])
def test_conjugate_gradient_at_any_condition(condition: float, rtol: float, damping: float) -> None:
    H, b, product = system(condition)
    exact = torch.linalg.solve(H + damping * torch.eye(30, dtype=torch.float64), flat(b))
    found = conjugate_gradient(product, b, damping=damping, iterations=300, tolerance=1e-13)
    assert (flat(found.z) - exact).norm() <= rtol * exact.norm()
    assert found.residual <= 1e-13
    assert found.negative_curvature == 0


def test_conjugate_gradient_ends_at_its_tolerance_or_after_its_iterations() -> None:
    H, b, product = system(1e4)
    calls = []

    def counted(p: Any) -> Any:
        calls.append(1)
        return product(p)

    loose = conjugate_gradient(counted, b, damping=0.0, iterations=300, tolerance=0.1)
    used = len(calls)
    assert 1 < used < 30
    assert 1e-3 < loose.residual <= 0.1
    residual = (flat(b) - H @ flat(loose.z)).norm() / flat(b).norm()
    assert loose.residual == pytest.approx(residual.item(), rel=1e-6)
    shorter = conjugate_gradient(counted, b, damping=0.0, iterations=used - 1, tolerance=0.1)
    assert len(calls) == 2 * used - 1
    assert shorter.residual > 0.1


def test_two_iterations_solve_a_system_of_two_eigenvalues() -> None:
    H = torch.diag(torch.tensor([2.0] * 15 + [5.0] * 15, dtype=torch.float64))
    _, b, _ = system(1.0)
    found = conjugate_gradient(lambda p: split(H @ flat(p)), b, damping=0.0, iterations=2, tolerance=0.0)
    torch.testing.assert_close(flat(found.z), flat(b) / H.diagonal(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("size", [1e-300, 1e-165, 1e160, 1e300])
def test_right_hand_sides_whose_squares_vanish_or_overflow_are_solved(size: float) -> None:
    H, b, product = system(10.0)
    exact = torch.linalg.solve(H, flat(b))
    found = conjugate_gradient(product, tuple(size * t for t in b), damping=0.0, iterations=300, tolerance=1e-13)
    assert found.residual <= 1e-13
    torch.testing.assert_close(flat(found.z) / size, exact, rtol=1e-11, atol=1e-13)


def test_a_direction_without_curvature_ends_conjugate_gradient() -> None:
    b = (torch.tensor([1.0, 1.0], dtype=torch.float64),)
    found = conjugate_gradient(lambda p: (p[0] * 0.0,), b, damping=0.0, iterations=5, tolerance=0.0)
    assert found.negative_curvature == found.residual == 1.0
    assert found.z[0].tolist() == [0.0, 0.0]


def test_negative_curvature_is_told_and_the_solution_before_it_kept() -> None:
    _, b, _ = system(1.0)
    diagonal = torch.tensor([1.0] * 29 + [-0.5], dtype=torch.float64)

    def product(p: Any) -> Any:
        return split(diagonal * flat(p))

    found = conjugate_gradient(product, b, damping=0.0, iterations=50, tolerance=1e-10)
    assert found.negative_curvature == 1
    first = flat(b).dot(flat(b)) / flat(b).dot(diagonal * flat(b)) * flat(b)
    torch.testing.assert_close(flat(found.z), first)
    damped = conjugate_gradient(product, b, damping=0.6, iterations=50, tolerance=1e-12)
    assert damped.negative_curvature == 0
    torch.testing.assert_close(flat(damped.z), flat(b) / (diagonal + 0.6))
    at_once = conjugate_gradient(lambda p: split(-flat(p)), b, damping=0.0, iterations=5, tolerance=0.0)
    assert (at_once.negative_curvature, at_once.residual) == (1, 1)
    assert flat(at_once.z).abs().max() == 0


@pytest.mark.parametrize("damping", [0.0, 0.2])
@pytest.mark.parametrize("terms", [1, 2, 7])
def test_neumann_series_is_the_sum_of_its_terms(damping: float, terms: int) -> None:
    H, b, product = system(10.0)
    A = H + damping * torch.eye(30, dtype=torch.float64)
    step = torch.eye(30, dtype=torch.float64) - 0.7 * A
    expected = sum(0.7 * torch.linalg.matrix_power(step, i) @ flat(b) for i in range(terms))
    found = neumann_series(product, b, damping=damping, iterations=terms, rate=0.7)
    torch.testing.assert_close(flat(found.z), expected, rtol=1e-12, atol=1e-13)
    before_the_last = torch.linalg.matrix_power(step, terms - 1) @ flat(b)
    assert found.residual == pytest.approx((before_the_last.norm() / flat(b).norm()).item(), rel=1e-9)


@pytest.mark.parametrize(("condition", "terms"), [(10.0, 300), (1e3, 20_000)])
def test_neumann_series_needs_as_many_terms_as_the_condition_says(condition: float, terms: int) -> None:
    H, b, _ = system(condition)
    values, vectors = torch.linalg.eigh(H)  # in the eigenbasis each product is cheap
    turned = (vectors.T @ flat(b),)
    few, many = (
        neumann_series(lambda p: (values * p[0],), turned, damping=0.0, iterations=n, rate=1.0)
        for n in (terms // 50, terms)
    )
    exact = turned[0] / values
    assert (many.z[0] - exact).norm() <= 1e-6 * exact.norm()
    assert (few.z[0] - exact).norm() > 1e-2 * exact.norm()


def test_a_series_that_diverges_is_an_error() -> None:
    _, b, product = system(10.0)
    with refused("bilevel.series-diverges", rate=3.0):
        neumann_series(product, b, damping=0.0, iterations=40, rate=3.0)
    with refused("bilevel.series-diverges"):
        neumann_series(lambda p: split(1e200 * flat(p)), b, damping=0.0, iterations=2, rate=1e100)


def test_a_right_hand_side_of_zero_is_solved_by_zero() -> None:
    _, b, product = system(10.0)
    zero = split(0 * flat(b))
    for solve in (
        partial(conjugate_gradient, iterations=5, tolerance=1e-6),
        partial(neumann_series, iterations=5, rate=0.5),
    ):
        found = solve(product, zero, damping=0.0)
        assert flat(found.z).abs().max() == 0
        assert found.residual == 0


@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_response_is_the_closed_form_of_a_quadratic(quadratic: Any, damping: float) -> None:
    """F_lower = w'Aw/2 - x'Bw has w(x) = A^-1 B'x, so R = B (A + damping)^-1 g_u."""
    g_u = quadratic.omega[0].detach() - quadratic.e
    solve = partial(conjugate_gradient, damping=damping, iterations=50, tolerance=1e-14)
    found = implicit(quadratic, quadratic.theta, None, (g_u,), solve)
    A = quadratic.A + damping * torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(found.x[0], quadratic.B @ torch.linalg.solve(A, g_u), rtol=1e-10, atol=1e-12)
    g_l = quadratic.A @ quadratic.omega[0] - quadratic.B.T @ quadratic.theta[0]
    torch.testing.assert_close(found.g_lower[0], g_l.detach())


def test_an_energy_without_second_derivatives_is_an_error(quadratic: Any) -> None:
    solve = partial(conjugate_gradient, damping=0.0, iterations=5, tolerance=0.0)
    g_u = (torch.ones(4, dtype=torch.float64),)
    quadratic.lower = lambda x, omega, _: omega[0].sum() * x[0].sum()
    with refused("bilevel.no-gradient", "dF_lower/domega", group="omega"):
        implicit(quadratic, quadratic.theta, None, g_u, solve)
    quadratic.lower = lambda x, omega, _: omega[0].square().sum() + x[0].sum()
    with refused("bilevel.no-gradient", "dF_lower/domega", group="x"):
        implicit(quadratic, quadratic.theta, None, g_u, solve)
