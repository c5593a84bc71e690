"""The outer-product response after the lower steps."""

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
    """k lower steps, then the response by the outer-product ratio: `restore_hub.bilevel.outer_product`.

    Gradient: G = dF_upper/dtheta - s dF_lower/dtheta, s = <g_l, g_u> / <g_l, g_l>, all at the omega after the last
    lower step, with F_lower on the last lower batch. Meant to follow a warm start by `joint`; the paper takes 80 lower
    steps for enhancement and 30 for detection.

    With `groups` the last lower batch is split, each group has a ratio of its own, and the response is that of
    `restore_hub.bilevel.grouped_product`. The gradients of all groups take about one pass over the batch; m groups take
    another m^2 |omega| + m^3 / 3 multiplications.

    Args:
        cap: largest norm of the response, as a multiple of the running median of past norms, > 1; none for no bound.
        groups: `sample`, or a number of parts of the lower batch; none for a single ratio.
        damping: lambda over the groups' excess coherence, >= 0; used only with `groups`.

    Reference:
        Bilevel Generative Learning (ACM MM 2023), Eq. 9 and Alg. 2.
    """

    levels = 2
    responds = True
    parallel = True

    def __init__(self, cap: float | None = 10.0, groups: Grouping | None = None, damping: float = DAMPING) -> None:
        if cap is not None and not cap > 1:
            raise OptionError("bilevel.bad-cap", "cap", got=cap)
        if groups not in (None, "sample") and not (isinstance(groups, int) and groups >= 1):
            raise OptionError("bilevel.bad-groups", "groups", got=groups)
        if not 0 <= damping < math.inf:
            raise OptionError("bilevel.negative", "damping", got=damping)
        self.cap, self.groups, self.damping = cap, groups, damping

    def init(self, pair: LevelPair, optimizers: Sequence[optim.Optimizer]) -> State:
        """Return the state; BilevelError if an optimizer doesn't hold its level's variables."""
        return new_state(optimizers, (pair.theta, pair.omega))

    def step(self, pair: LevelPair, state: State, batches: Batches) -> tuple[State, Logs]:
        """Take `batches.steps` lower steps and one upper step."""
        shared = shares_batch(batches)
        x, x_lower = levels = couple_levels(pair, batches)
        lower_loss = descend(pair, state.optimizers[1], batches, levels=levels).loss
        lower: Gradients | Rows
        if shared and self.groups is None:
            lower, above = evaluate_both(pair, x, pair.omega, batches.upper)
        else:
            lower = self._lower(pair, x_lower, batches.lower[-1])
            above = evaluate(pair, "upper", x, pair.omega, batches.upper, optional=("x",))
        response = self._respond(state, lower, above, shared, reduction_of(pair).norm)
        step_upper(pair, state.optimizers[0], Pull(x, above.x), Pull(x_lower, response.x))
        if self.cap is not None:
            norm_cap.record(state.history, response.raw_norm)
        return state, {
            "loss/upper": above.value,
            "loss/lower": lower_loss,
            "s": response.s,
            "g_lower": response.g_lower,
            "cosine": response.cosine,
            "response_norm": response.norm,
            "direct_norm": reduction_of(pair).norm(above.x),
            "capped": response.capped,
        }

    def _lower(self, pair: LevelPair, x: Tensors, batch: Any) -> Gradients | Rows:
        if self.groups is None:
            return evaluate(pair, "lower", x, pair.omega, batch)
        return lower_rows(pair, x, pair.omega, batch, self.groups)

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
        """Return k + 2: the lower steps, then F_lower's and F_upper's gradients."""
        return lower_steps + 2
