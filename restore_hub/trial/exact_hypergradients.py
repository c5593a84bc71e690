"""Exact hypergradients, at any cost, for small problems."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, optim

from restore_hub.bilevel import (
    Pull,
    Solution,
    Start,
    Tensors,
    conjugate_gradient,
    evaluate,
    hypergradient,
    implicit,
    norm,
    shares_batch,
)
from restore_hub.bilevel.implicit import Operator
from restore_hub.contracts import Batches, LevelPair
from restore_hub.errors import BilevelError

DAMPINGS = (0.0, 1e-6, 1e-4, 1e-2)  # as parts of the largest curvature of F_lower
SOLVED = 1e-3  # relative residual of the linear system


def lower_gradient(pair: LevelPair, batches: Batches) -> float:
    """Return |g_l| on the last lower batch at the current omega."""
    x, batch = pair.couple(batches.lower[-1]), batches.lower[-1]
    return norm(evaluate(pair, "lower", x, pair.omega, batch, wrt=("omega",)).omega)


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


def direct_term(pair: LevelPair, batches: Batches) -> Tensors:
    """Return dF_upper/dtheta at the current omega, zero if F_upper doesn't use theta; every method shares this term."""
    x = pair.couple(batches.upper)
    above = evaluate(pair, "upper", x, pair.omega, batches.upper, optional=("x", "omega"))
    return hypergradient(pair, Pull(x, above.x))


def at_optimum(pair: LevelPair, batches: Batches, iterations: int) -> ExactHypergradient:
    r"""Return the implicit hypergradient at the optimum of the lower level, searched for from the current omega.

    .. math:: G = \frac{dF_{upper}}{d\theta} - \frac{\partial^2 F_{lower}}{\partial\theta\,\partial\omega}
        (H + \lambda I)^{-1} \frac{\partial F_{upper}}{\partial\omega}, \qquad \partial_\omega F_{lower} \approx 0

    L-BFGS searches for the optimum and conjugate gradient solves the system. If H is not positive definite, or the
    system isn't solved, lambda is the smallest of `DAMPINGS` that helps. Omega is restored afterwards.

    Args:
        pair: a small one.
        batches: one lower batch.
        iterations: at most, for L-BFGS and for conjugate gradient with each damping.

    Raises:
        BilevelError: a level doesn't depend on what the response needs, or a value isn't finite.
    """
    before = tuple(w.detach().clone() for w in pair.omega)
    try:
        g_lower = _minimise(pair, batches, iterations)
        x = pair.couple(batches.lower[-1])
        x_upper = x if shares_batch(batches) else pair.couple(batches.upper)
        above = evaluate(pair, "upper", x_upper, pair.omega, batches.upper, optional=("x",))
        solve = _Solve(iterations)
        response = implicit(pair, x, batches.lower[-1], above.omega, solve)
        whole = hypergradient(pair, Pull(x_upper, above.x), Pull(x, response.x))
        direct = direct_term(pair, batches)
    finally:
        with torch.no_grad():
            for w, value in zip(pair.omega, before, strict=True):
                w.copy_(value)
    return ExactHypergradient(whole, direct, g_lower, float(response.solution.residual), solve.damping)


def _minimise(pair: LevelPair, batches: Batches, iterations: int) -> float:
    """Move omega to the optimum of F_lower, or as near as F_lower stays finite; return |g_l| there."""
    x = tuple(t.detach() for t in pair.couple(batches.lower[-1]))
    search = optim.LBFGS(
        pair.omega, max_iter=iterations, max_eval=4 * iterations, history_size=20, line_search_fn="strong_wolfe"
    )

    def gradient() -> tuple[Tensor, float]:
        found = evaluate(pair, "lower", x, pair.omega, batches.lower[-1], wrt=("omega",))
        for w, g in zip(pair.omega, found.omega, strict=True):
            w.grad = g.contiguous()  # L-BFGS joins them into one vector
        return found.value, norm(found.omega)

    begun, start = gradient()[1], Start(search)
    for group in search.param_groups:  # down to the resolution of the number format
        group["tolerance_grad"] = begun * torch.finfo(pair.omega[0].dtype).eps
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
