"""Implicit differentiation by conjugate gradient after the lower steps."""

from __future__ import annotations

from functools import partial

from restore_hub.bilevel.implicit import Operator, Solution, conjugate_gradient
from restore_hub.bilevel.solvers.implicit import ImplicitSolver, check_system
from restore_hub.bilevel.solvers.state import State
from restore_hub.bilevel.vectors import Tensors
from restore_hub.errors import OptionError


class Cg(ImplicitSolver):
    """k lower steps, then the response by the implicit function theorem: `restore_hub.bilevel.conjugate_gradient`.

    Gradient: G = dF_upper/dtheta - d^2 F_lower / dtheta domega (H + damping I)^-1 dF_upper/domega, all at the omega
    after the last lower step, with F_lower on the last lower batch. H is its Hessian, plus the weight decay that the
    lower optimizer adds to the gradient. Exact if the lower level has converged and H is positive definite. Works with
    any torch optimizer that minimises, at either level; memory doesn't grow with k.

    Also logs `residual`, the relative residual of the linear system (1: nothing was solved), and `negative_curvature`,
    1 if H + damping I turned out not to be positive definite and the solution was cut short: then take more lower
    steps, or more damping than the most negative curvature.

    Cost: k gradients of F_lower, one more with its graph, at most `iterations` Hessian-vector products, one gradient of
    F_upper.

    Args:
        iterations: most products H p; in exact arithmetic the number of variables is enough. It also regularises:
            directions of small curvature come last.
        damping: lambda >= 0, in units of F_lower's curvature; its bias is about lambda / (curvature + lambda).
        tolerance: relative residual at which to stop, >= 0.

    Reference:
        Pedregosa, Hyperparameter Optimization with Approximate Gradient, ICML 2016; Rajeswaran et al., Meta-Learning
        with Implicit Gradients, NeurIPS 2019.
    """

    def __init__(self, iterations: int = 20, damping: float = 0.0, tolerance: float = 1e-6) -> None:
        check_system(iterations, damping)
        if not tolerance >= 0:
            raise OptionError("bilevel.negative", "tolerance", got=tolerance)
        self.iterations = iterations
        self._solve = partial(conjugate_gradient, damping=damping, iterations=iterations, tolerance=tolerance)

    def solve(self, _state: State, product: Operator, g_u: Tensors) -> Solution:
        """Solve (H + damping I) z = g_u."""
        return self._solve(product, g_u)
