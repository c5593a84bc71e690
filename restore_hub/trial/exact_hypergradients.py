"""Hypergradients to trust: exact ones, at any cost, for problems that are small."""

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

DAMPINGS = (0.0, 1e-6, 1e-4, 1e-2)  # in parts of the largest curvature of F_lower
SOLVED = 1e-3  # relative residual of the linear system


def lower_gradient(problem: LevelPair, batches: Batches) -> float:
    """Return |g_l| on the last lower batch at the present omega."""
    x, batch = problem.couple(batches.lower[-1]), batches.lower[-1]
    return norm(evaluate(problem, "lower", x, problem.omega, batch, wrt=("omega",)).omega)


class Solved(NamedTuple):
    """The hypergradient at the optimum of the lower level.

    Attributes:
        whole, direct: G and dF_upper/dtheta there, shaped like theta.
        g_lower: |g_l| there; 0 is an optimum.
        residual: relative, of the linear system.
        damping: what had to be added to the curvature, in parts of the largest; 0 where it is positive.
    """

    whole: Tensors
    direct: Tensors
    g_lower: float
    residual: float
    damping: float


def direct_term(problem: LevelPair, batches: Batches) -> Tensors:
    """Return dF_upper/dtheta at the present omega, zero where F_upper sees no theta; the same for every method."""
    x = problem.couple(batches.upper)
    above = evaluate(problem, "upper", x, problem.omega, batches.upper, optional=("x", "omega"))
    return hypergradient(problem, Pull(x, above.x))


def at_optimum(problem: LevelPair, batches: Batches, iterations: int) -> Solved:
    r"""Return the implicit hypergradient with the lower level brought near its optimum, from the present omega.

    .. math:: G = \frac{dF_{upper}}{d\theta} - \frac{\partial^2 F_{lower}}{\partial\theta\,\partial\omega}
        (H + \lambda I)^{-1} \frac{\partial F_{upper}}{\partial\omega}, \qquad \partial_\omega F_{lower} \approx 0

    L-BFGS looks for the optimum and conjugate gradient solves the system. Where H is not positive definite, or the
    system is not solved, lambda is the least of `DAMPINGS` that helps. Omega is put back.

    Args:
        problem: small.
        batches: one lower batch.
        iterations: most of L-BFGS, and of conjugate gradient for each damping.

    Raises:
        BilevelError: a level does not depend on what the response needs, or something is not finite.
    """
    before = tuple(w.detach().clone() for w in problem.omega)
    try:
        g_lower = _minimise(problem, batches, iterations)
        x = problem.couple(batches.lower[-1])
        x_upper = x if shares_batch(batches) else problem.couple(batches.upper)
        above = evaluate(problem, "upper", x_upper, problem.omega, batches.upper, optional=("x",))
        solve = _Solve(iterations)
        response = implicit(problem, x, batches.lower[-1], above.omega, solve)
        whole = hypergradient(problem, Pull(x_upper, above.x), Pull(x, response.x))
        direct = direct_term(problem, batches)
    finally:
        with torch.no_grad():
            for w, value in zip(problem.omega, before, strict=True):
                w.copy_(value)
    return Solved(whole, direct, g_lower, float(response.solution.residual), solve.damping)


def _minimise(problem: LevelPair, batches: Batches, iterations: int) -> float:
    """Bring omega near the optimum of F_lower, or as near as stays finite; return |g_l| there."""
    x = tuple(t.detach() for t in problem.couple(batches.lower[-1]))
    search = optim.LBFGS(
        problem.omega, max_iter=iterations, max_eval=4 * iterations, history_size=20, line_search_fn="strong_wolfe"
    )

    def gradient() -> tuple[Tensor, float]:
        found = evaluate(problem, "lower", x, problem.omega, batches.lower[-1], wrt=("omega",))
        for w, g in zip(problem.omega, found.omega, strict=True):
            w.grad = g.contiguous()  # LBFGS makes one vector of them
        return found.value, norm(found.omega)

    begun, start = gradient()[1], Start(search)
    for group in search.param_groups:  # as far as the number format tells gradients apart
        group["tolerance_grad"] = begun * torch.finfo(problem.omega[0].dtype).eps
        group["tolerance_change"] = 0.0
    try:
        search.step(lambda: gradient()[0])  # type: ignore[no-untyped-call]
        return gradient()[1]
    except BilevelError:  # the line search went where F_lower is not finite
        start.restore()
        return begun


class _Solve:
    """Solves (H + lambda I) z = b by conjugate gradient; `damping` is the lambda that it took."""

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
    """Return about the largest |eigenvalue| of H by power iteration from b; 0 where b is zero."""
    v, largest = b, 0.0
    for _ in range(iterations):
        length = norm(v)
        if length == 0:
            break
        v = product(tuple((t / length).to(t.dtype) for t in v))
        largest = norm(v)
    return largest
