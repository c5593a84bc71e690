"""Lower steps, answered for by the outer product."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import optim

from restore_hub.bilevel import norm_cap
from restore_hub.bilevel.coupling import couple_levels, shares_batch
from restore_hub.bilevel.gradients import Gradients, evaluate, evaluate_both
from restore_hub.bilevel.grouped_product import DAMPING, grouped_product
from restore_hub.bilevel.groups import Grouping, Rows, lower_rows
from restore_hub.bilevel.lower import descend
from restore_hub.bilevel.outer import Pull, step_upper
from restore_hub.bilevel.outer_product import OuterProduct, check_zero_sum, outer_product
from restore_hub.bilevel.reduction import reduction_of
from restore_hub.bilevel.solvers.state import Logs, State, new_state
from restore_hub.bilevel.vectors import Tensors
from restore_hub.contracts import Batches, LevelPair
from restore_hub.errors import OptionError


class Ibgl:
    """k lower steps, answered for by the outer-product ratio: `restore_hub.bilevel.outer_product`.

    Gradient: G = dF_upper/dtheta - s dF_lower/dtheta, s = <g_l, g_u> / <g_l, g_l>, everything at the omega after
    the last lower step, F_lower on the last lower batch. Meant to follow a warm start (`joint`); the paper takes
    80 lower steps for enhancement and 30 for detection.

    With `groups` the last lower batch is cut, each group answers with a ratio of its own, and
    G = dF_upper/dtheta - T^T (K + lambda I)^-1 G g_u: `restore_hub.bilevel.grouped_product`. The gradients of all
    groups take about one pass over the batch; then come m^2 |omega| + m^3 / 3 multiplications for m groups.

    Args:
        cap: largest norm of the response, in running medians of past norms, > 1; none for no bound.
        groups: `sample`, or a number of parts of the lower batch; none for one ratio in all.
        damping: lambda over the groups' excess of coherence, >= 0; only beside `groups`.

    Reference:
        Bilevel Generative Learning (ACM MM 2023), Eq. 9 and Alg. 2.
    """

    levels = 2
    responds = True
    parallel = True

    def __init__(self, cap: float | None = 10.0, groups: Grouping | None = None, damping: float = DAMPING) -> None:
        if cap is not None and not cap > 1:
            raise OptionError(f"cap is a factor above 1, or none, got {cap}", "cap")
        if groups not in (None, "sample") and not (isinstance(groups, int) and groups >= 1):
            raise OptionError(f"groups is `sample`, a number from 1 up, or none, got {groups}", "groups")
        if not 0 <= damping < math.inf:
            raise OptionError(f"damping is a finite number from 0 up, got {damping}", "damping")
        self.cap, self.groups, self.damping = cap, groups, damping

    def init(self, problem: LevelPair, optimizers: Sequence[optim.Optimizer]) -> State:
        """Return the state; BilevelError where an optimizer does not hold its level's variables."""
        return new_state(optimizers, (problem.theta, problem.omega))

    def step(self, problem: LevelPair, state: State, batches: Batches) -> tuple[State, Logs]:
        """Take `batches.steps` lower steps and one upper step."""
        shared = shares_batch(batches)
        x, x_lower = levels = couple_levels(problem, batches)
        lower_loss = descend(problem, state.optimizers[1], batches, levels=levels).loss
        lower: Gradients | Rows
        if shared and self.groups is None:
            lower, above = evaluate_both(problem, x, problem.omega, batches.upper)
        else:
            lower = self._lower(problem, x_lower, batches.lower[-1])
            above = evaluate(problem, "upper", x, problem.omega, batches.upper, optional=("x",))
        response = self._respond(state, lower, above, shared, reduction_of(problem).norm)
        step_upper(problem, state.optimizers[0], Pull(x, above.x), Pull(x_lower, response.x))
        if self.cap is not None:
            norm_cap.record(state.history, response.raw_norm)
        return state, {
            "loss/upper": above.value,
            "loss/lower": lower_loss,
            "s": response.s,
            "g_lower": response.g_lower,
            "cosine": response.cosine,
            "response_norm": response.norm,
            "direct_norm": reduction_of(problem).norm(above.x),
            "capped": response.capped,
        }

    def _lower(self, problem: LevelPair, x: Tensors, batch: Any) -> Gradients | Rows:
        if self.groups is None:
            return evaluate(problem, "lower", x, problem.omega, batch)
        return lower_rows(problem, x, problem.omega, batch, self.groups)

    def _respond(
        self, state: State, lower: Gradients | Rows, upper: Gradients, shared: bool, length: Callable[[Tensors], float]
    ) -> OuterProduct:
        limit = math.inf if self.cap is None else norm_cap.limit(state.history, self.cap)
        if isinstance(lower, Rows):
            response = grouped_product(lower, upper.omega, self.damping, limit, length)
        else:
            response = outer_product(lower.omega, upper.omega, lower.x, limit, length)
        if shared:
            check_zero_sum(lower.total() if isinstance(lower, Rows) else lower, upper, response, length)
        return response

    def evaluations(self, lower_steps: int) -> int:
        """Return lower_steps + 2: the lower steps, the gradients of F_lower at omega_hat, those of F_upper."""
        return lower_steps + 2
