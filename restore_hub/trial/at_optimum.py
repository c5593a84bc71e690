"""The exact hypergradient with the lower level solved, at any cost, for small problems."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, optim

from restore_hub.bilevel import Solution, Start, Tensors, conjugate_gradient, fill, norm, pull_back
from restore_hub.bilevel.implicit import Operator
from restore_hub.errors import BilevelError
from restore_hub.trial.live import Live, lower_gradient, put, upper_gradients

DAMPINGS = (0.0, 1e-6, 1e-4, 1e-2)  # as parts of the largest curvature of F_lower
SOLVED = 1e-3  # relative residual of the linear system


class ExactHypergradient(NamedTuple):
    """The hypergradient at the optimum of the lower level.

    Attributes:
        whole, direct: G and dF_upper/dtheta there, shaped like theta.
        g_lower: |g_l| there; 0 at an optimum.
        residual: relative residual of the linear system.
        damping: what had to be added to the curvature, as a part of the largest; 0 if the curvature is positive.
    """

    whole: Tensors
    direct: Tensors
    g_lower: float
    residual: float
    damping: float


def at_optimum(live: Live, iterations: int) -> ExactHypergradient:
    r"""Return the implicit hypergradient at the optimum of the lower level, searched for from the current omega.

    .. math:: G = \frac{dF_{upper}}{d\theta} - \frac{\partial^2 F_{lower}}{\partial\theta\,\partial\omega}
        (H + \lambda I)^{-1} \frac{\partial F_{upper}}{\partial\omega}, \qquad \partial_\omega F_{lower} \approx 0

    L-BFGS searches for the optimum and conjugate gradient solves the system. If H is not positive definite, or the
    system isn't solved, lambda is the smallest of `DAMPINGS` that helps. Omega is restored afterwards.

    Args:
        live: a small problem.
        iterations: at most, for L-BFGS and for conjugate gradient with each damping.

    Raises:
        BilevelError: a level doesn't depend on what the response needs, or a value isn't finite.
    """
    before = tuple(w.detach().clone() for w in live.omega)
    try:
        g_lower = _minimise(live, iterations)
        direct, g_u = upper_gradients(live)
        g_l = lower_gradient(live, graph=True)[1]

        def product(p: Tensors) -> Tensors:
            return fill(pull_back(g_l, p, live.omega, keep=True), live.omega, "omega", "dF_lower/domega")

        solve = _Solve(iterations)
        solution = solve(product, g_u)
        mixed = fill(pull_back(g_l, solution.z, live.theta), live.theta, "theta", "dF_lower/domega")
    finally:
        put(live.omega, before)
    whole = tuple(d - m for d, m in zip(direct, mixed, strict=True))
    return ExactHypergradient(whole, direct, g_lower, float(solution.residual), solve.damping)


def _minimise(live: Live, iterations: int) -> float:
    """Move omega to the optimum of F_lower, or as near as F_lower stays finite; return |g_l| there."""
    search = optim.LBFGS(
        live.omega, max_iter=iterations, max_eval=4 * iterations, history_size=20, line_search_fn="strong_wolfe"
    )

    def gradient() -> tuple[Tensor, float]:
        value, g_l = lower_gradient(live)
        for w, g in zip(live.omega, g_l, strict=True):
            w.grad = g.contiguous()  # L-BFGS joins them into one vector
        return value, norm(g_l)

    begun, start = gradient()[1], Start(search)
    for group in search.param_groups:  # down to the resolution of the number format
        group["tolerance_grad"] = begun * torch.finfo(live.omega[0].dtype).eps
        group["tolerance_change"] = 0.0
    try:
        search.step(lambda: gradient()[0])  # type: ignore[no-untyped-call]
        return gradient()[1]
    except BilevelError:  # the line search reached a point where F_lower isn't finite
        start.restore()
        return begun


class _Solve:
    """Solves (H + lambda I) z = b by conjugate gradient; `damping` is lambda, as a part of the largest curvature."""

    def __init__(self, iterations: int) -> None:
        self._iterations = iterations
        self.damping = 0.0

    def __call__(self, product: Operator, b: Tensors) -> Solution:
        largest = _curvature(product, b)
        for self.damping in DAMPINGS:
            found = conjugate_gradient(
                product, b, damping=self.damping * largest, iterations=self._iterations, tolerance=1e-8
            )
            if not found.negative_curvature and found.residual <= SOLVED:
                break
        return found


def _curvature(product: Callable[[Tensors], Tensors], b: Tensors, iterations: int = 10) -> float:
    """Return an estimate of the largest |eigenvalue| of H, by power iteration from b; 0 if b is zero."""
    v, largest = b, 0.0
    for _ in range(iterations):
        length = norm(v)
        if length == 0:
            break
        v = product(tuple((t / length).to(t.dtype) for t in v))
        largest = norm(v)
    return largest
