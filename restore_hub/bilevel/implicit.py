"""The implicit response: a linear system with the Hessian of F_lower, by conjugate gradient or Neumann series."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch

from restore_hub.bilevel.gradients import check_finite, fill, gradient_graph, pull_back
from restore_hub.bilevel.vectors import Tensors, inner, norm, scaled
from restore_hub.contracts import LevelPair
from restore_hub.errors import BilevelError

Operator: TypeAlias = Callable[[Tensors], Tensors]
PLAIN = (1e-200, 1e200)  # squares of a length that float64 holds together with those of much shorter vectors
DIVERGED = 1e3  # a relative residual that no rounding explains; at z = 0 it is 1


class Solution(NamedTuple):
    """An approximate solution z of (H + lambda I) z = b.

    Attributes:
        z: shaped like b.
        residual: |b - (H + lambda I) z| / |b|, for a Neumann series that before its last term; zero where b is zero.
        negative_curvature: one where conjugate gradient stopped at a direction p with p' (H + lambda I) p <= 0, else
            zero.
    """

    z: Tensors
    residual: float
    negative_curvature: float


class Implicit(NamedTuple):
    """The response at the coupling tensors, and what to log.

    Attributes:
        x: R, shaped like the coupling tensors.
        g_lower: g_l = dF_lower/domega at the same point.
        solution: z, and how well it solves the system.
    """

    x: Tensors
    g_lower: Tensors
    solution: Solution


def implicit(
    problem: LevelPair, x: Tensors, batch: Any, g_u: Tensors, solve: Callable[[Operator, Tensors], Solution]
) -> Implicit:
    r"""Return the response of a lower level at its optimum, by the implicit function theorem.

    .. math::
        R = -\frac{\partial^2 F_{lower}}{\partial x \, \partial \omega} \, z, \qquad
        H z = g_u, \quad H = \frac{\partial^2 F_{lower}}{\partial \omega^2}(x, \omega)

    Sign: R is added to dF_upper/dx. Symmetry: H is symmetric; the mixed derivative is applied as a row. Exact where
    g_l = 0 and H is positive definite; away from the optimum of F_lower the error grows with |g_l|.

    F_lower runs forward once, and each product H p is one backward pass through the graph of g_l. That is
    `torch.autograd`, since `torch.func` runs the energy anew in each product: measured, 1.9 to 8 times the time. In
    float32 at least, also inside autocast.

    Args:
        problem: supplies F_lower and the live omega.
        x: coupling tensors of `batch`; a graph on them is ignored.
        batch: the last lower batch.
        g_u: dF_upper/domega at the live omega.
        solve: takes p -> H p and g_u.

    Raises:
        BilevelError: F_lower's gradient by omega depends on no tensor of omega, or of x, or is not finite.
    """
    x = tuple(t.detach().requires_grad_() for t in x)
    omega = tuple(w.detach().requires_grad_() for w in problem.omega)
    with torch.autocast(x[0].device.type, enabled=False):
        _, g_l = gradient_graph(problem, "lower", x, omega, batch)

        def product(p: Tensors) -> Tensors:
            found = pull_back(g_l, p, omega, keep=True)
            return fill(found, omega, "omega", "dF_lower/domega")

        solution = solve(product, g_u)
        # R = -(d g_l / dx)^T z
        response = fill(pull_back(g_l, solution.z, x), x, "x", "dF_lower/domega")
    return Implicit(tuple(-r for r in response), tuple(g.detach() for g in g_l), solution)


def conjugate_gradient(product: Operator, b: Tensors, *, damping: float, iterations: int, tolerance: float) -> Solution:
    r"""Solve (H + lambda I) z = b by conjugate gradient from z = 0.

    .. math::
        \alpha = \frac{\langle r, r \rangle}{\langle p, A p \rangle}, \quad z' = z + \alpha p, \quad
        r' = r - \alpha A p, \quad p' = r' + \frac{\langle r', r' \rangle}{\langle r, r \rangle} p, \quad
        A = H + \lambda I

    Where <p, A p> <= 0, A is not positive definite and the system no minimum: it stops with the z so far, zero where
    that happens at once, and says so. Inner products in float64.

    Args:
        product: p -> H p.
        b: the right-hand side.
        damping: lambda >= 0, in units of the curvature of F_lower.
        iterations: at most so many, each one product.
        tolerance: stop at this relative residual.
    """
    square = inner(b, b)
    if not PLAIN[0] < square < PLAIN[1] and 0 < (length := norm(b)) < math.inf:  # squares that vanish or overflow
        found = conjugate_gradient(
            product, scaled(b, 1.0, length), damping=damping, iterations=iterations, tolerance=tolerance
        )
        return found._replace(z=tuple(length * t for t in found.z))
    z = tuple(torch.zeros_like(t) for t in b)
    r, p = b, b
    start, negative = square, 0.0
    for _ in range(iterations):
        if not square > tolerance**2 * start:
            break
        Ap = _damped(product, p, damping)
        curvature = inner(p, Ap)
        if curvature <= 0:
            negative = 1.0
            break
        step = square / curvature
        for own, along in zip(z, p, strict=True):
            own.add_(along, alpha=step)
        r = _sum(r, -step, Ap)
        del Ap  # before the next one
        before, square = square, inner(r, r)
        p = _sum(r, square / before, p)
    return Solution(z, math.sqrt(square / start) if start > 0 else 0.0, negative)


def neumann_series(product: Operator, b: Tensors, *, damping: float, iterations: int, rate: float) -> Solution:
    r"""Solve (H + lambda I) z = b by the Neumann series.

    .. math::
        z = \eta \sum_{i=0}^{m-1} (I - \eta A)^i \, b, \qquad A = H + \lambda I, \qquad
        b - A z = (I - \eta A)^m \, b

    Converges where 0 < eta < 2 / (the largest eigenvalue of A) and A is positive definite. m terms with eta the rate of
    plain SGD are reverse mode through m lower steps at the optimum. The residual is that before the last term, which is
    known without one more product.

    Args:
        product: p -> H p.
        b: the right-hand side.
        damping: lambda >= 0, in units of the curvature of F_lower.
        iterations: m >= 1 terms, each but the first one product.
        rate: eta.

    Raises:
        BilevelError: the series diverges.
    """
    z, term = tuple(rate * t for t in b), b
    for _ in range(iterations - 1):
        # z += eta (I - eta A)^i b, i = 1 .. m - 1
        term = _sum(term, -rate, _damped(product, term, damping))
        for own, more in zip(z, term, strict=True):
            own.add_(more, alpha=rate)
    length = norm(b)
    residual = norm(term) / length if length else 0.0
    if not residual <= DIVERGED:
        raise BilevelError(
            f"the Neumann series diverges (relative residual {residual:.3g} after {iterations} terms): lower "
            f"its rate, {rate:g}, below 2 / the largest curvature of F_lower, or raise `damping`"
        )
    return Solution(z, residual, 0.0)


def _damped(product: Operator, p: Tensors, damping: float) -> Tensors:
    """Return A p = H p + lambda p."""
    found = _sum(product(p), damping, p) if damping else product(p)
    check_finite(found, [f"a Hessian-vector product of F_lower (tensor {i} of omega)" for i in range(len(found))])
    return found


def _sum(a: Tensors, factor: float, b: Tensors) -> Tensors:
    """Return a + factor b, in the tensors' own types."""
    return tuple(torch.add(u, v.to(u.dtype), alpha=factor) for u, v in zip(a, b, strict=True))
