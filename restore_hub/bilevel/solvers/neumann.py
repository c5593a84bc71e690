"""Implicit differentiation by a Neumann series after the lower steps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import optim

from restore_hub.bilevel.implicit import Operator, Solution, neumann_series
from restore_hub.bilevel.solvers.implicit import ImplicitSolver, check_system
from restore_hub.bilevel.solvers.state import State
from restore_hub.bilevel.vectors import Tensors
from restore_hub.contracts import LevelPair
from restore_hub.errors import BilevelError, OptionError


class Neumann(ImplicitSolver):
    """k lower steps, then the response by the implicit function theorem: `restore_hub.bilevel.neumann_series`.

    Gradient: as `cg`, with (H + damping I)^-1 replaced by rate * sum_i (I - rate (H + damping I))^i, i = 0 ..
    iterations - 1. The error shrinks like (1 - rate mu)^iterations, where mu is the smallest curvature, so badly
    conditioned problems need many terms. If H isn't positive definite the sum stays finite, unlike an exact solution.
    Memory doesn't grow with k.

    Also logs `residual`, the relative residual of the linear system before the last term (1 for one term). A series
    that diverges is an error.

    Cost: as `cg`.

    Args:
        iterations: terms of the series; each but the first takes one product H p.
        rate: below 2 / (largest curvature of F_lower, weight decay included). None: the learning rate of the lower
            optimizer, which must then be plain SGD; if its lower steps converge, so does the series.
        damping: lambda >= 0, in units of F_lower's curvature; its bias is about lambda / (curvature + lambda).

    Reference:
        Lorraine et al., Optimizing Millions of Hyperparameters by Implicit Differentiation, AISTATS 2020.
    """

    def __init__(self, iterations: int = 20, rate: float | None = None, damping: float = 0.0) -> None:
        check_system(iterations, damping)
        if rate is not None and not rate > 0:
            raise OptionError("bilevel.not-positive", "rate", got=rate)
        self.iterations, self.rate, self.damping = iterations, rate, damping

    def init(self, pair: LevelPair, optimizers: Sequence[optim.Optimizer]) -> State:
        """Return the state; BilevelError if an optimizer isn't its level's, or the series has no rate."""
        state = super().init(pair, optimizers)
        lower = state.optimizers[1]
        plain = isinstance(lower, optim.SGD) and len(lower.param_groups) == 1 and not lower.param_groups[0]["momentum"]
        if self.rate is None and not plain:
            raise BilevelError("bilevel.series-without-rate", type(lower).__name__)
        return state

    def solve(self, state: State, product: Operator, g_u: Tensors) -> Solution:
        """Solve (H + damping I) z = g_u."""
        rate = float(state.optimizers[1].param_groups[0]["lr"]) if self.rate is None else self.rate
        return neumann_series(product, g_u, damping=self.damping, iterations=self.iterations, rate=rate)
