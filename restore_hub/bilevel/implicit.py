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
PLAIN = (1e-200, 1e200)  # squared norms that leave float64 room for those of much shorter vectors
DIVERGED = 1e3  # a relative residual that rounding can't explain; it is 1 at z = 0


class Solution(NamedTuple):
    """An approximate solution z of (H + lambda I) z = b.

    Attributes:
        z: shaped like b.
        residual: |b - (H + lambda I) z| / |b|; for a Neumann series, that before its last term; 0 if b = 0.
        negative_curvature: 1 if conjugate gradient stopped at a direction p with <p, (H + lambda I) p> <= 0, else 0.
    """

    z: Tensors
    residual: float
    negative_curvature: float


class Implicit(NamedTuple):
    """The response at the coupling tensors, and figures to log.

    Attributes:
        x: R, shaped like the coupling tensors.
        g_lower: g_l = dF_lower/domega at the same point.
        solution: z, and how well it solves the system.
    """

    x: Tensors
    g_lower: Tensors
    solution: Solution


def implicit(
    pair: LevelPair, x: Tensors, batch: Any, g_u: Tensors, solve: Callable[[Operator, Tensors], Solution]
) -> Implicit:
    r"""Return the response of a lower level at its optimum, by the implicit function theorem.

    .. math::
        R = -\frac{\partial^2 F_{lower}}{\partial x \, \partial \omega} \, z, \qquad
        H z = g_u, \quad H = \frac{\partial^2 F_{lower}}{\partial \omega^2}(x, \omega)

    Sign: R is added to dF_upper/dx. Symmetry: H is symmetric; R = -(d g_l / dx)^T z.
    Exact if g_l = 0 and H is positive definite; away from the optimum of F_lower the error grows with |g_l|.

    F_lower runs forward once, and each product H p is one backward pass through the graph of g_l by `torch.autograd`
    (`torch.func` runs the energy again for each product, which measured 1.9 to 8 times slower). At least float32,
    inside autocast too.

    Args:
        pair: supplies F_lower and the live omega.
        x: coupling tensors of `batch`; their graph is ignored.
        batch: the last lower batch.
        g_u: dF_upper/domega at the live omega.
        solve: takes p -> H p and g_u, returns z.

    Raises:
        BilevelError: dF_lower/domega depends on no tensor of omega or on none of x, or isn't finite.
    """
    x = tuple(t.detach().requires_grad_() for t in x)
    omega = tuple(w.detach().requires_grad_() for w in pair.omega)
    with torch.autocast(x[0].device.type, enabled=False):
        _, g_l = gradient_graph(pair, "lower", x, omega, batch)

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

    If <p, A p> <= 0, A isn't positive definite and the quadratic has no minimum: the iteration stops with the z so far
    (zero in the first iteration) and sets `negative_curvature`. Inner products are in float64.

    Args:
        product: p -> H p.
        b: the right-hand side.
        damping: lambda >= 0, in units of the curvature of F_lower.
        iterations: maximum, one product each.
        tolerance: relative residual at which to stop.
    """
    square = inner(b, b)
    if not PLAIN[0] < square < PLAIN[1] and 0 < (length := norm(b)) < math.inf:  # squares that underflow or overflow
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
        del Ap  # free it before the next one
        before, square = square, inner(r, r)
        p = _sum(r, square / before, p)
    return Solution(z, math.sqrt(square / start) if start > 0 else 0.0, negative)


def neumann_series(product: Operator, b: Tensors, *, damping: float, iterations: int, rate: float) -> Solution:
    r"""Solve (H + lambda I) z = b by the Neumann series.

    .. math::
        z = \eta \sum_{i=0}^{m-1} (I - \eta A)^i \, b, \qquad A = H + \lambda I, \qquad
        b - A z = (I - \eta A)^m \, b

    Converges if A is positive definite and 0 < eta < 2 / (largest eigenvalue of A). With eta the learning rate of plain
    SGD, m terms equal reverse mode through m lower steps at the optimum. The residual is that before the last term,
    which needs no further product.

    Args:
        product: p -> H p.
        b: the right-hand side.
        damping: lambda >= 0, in units of the curvature of F_lower.
        iterations: m >= 1, the number of terms; each but the first takes one product.
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
        raise BilevelError("bilevel.series-diverges", residual=residual, terms=iterations, rate=rate)
    return Solution(z, residual, 0.0)


def _damped(product: Operator, p: Tensors, damping: float) -> Tensors:
    """Return A p = H p + lambda p."""
    found = _sum(product(p), damping, p) if damping else product(p)
    check_finite(found, [f"Hessian-vector product of F_lower by omega[{i}]" for i in range(len(found))])
    return found


def _sum(a: Tensors, factor: float, b: Tensors) -> Tensors:
    """Return a + factor b, in the tensors' own types."""
    return tuple(torch.add(u, v.to(u.dtype), alpha=factor) for u, v in zip(a, b, strict=True))
