"""Lower steps, answered for by the outer product."""

from __future__ import annotations

from collections.abc import Sequence

from torch import optim

from restore_hub.bilevel import cap
from restore_hub.bilevel.gradients import Gradients, evaluate
from restore_hub.bilevel.lower import descend
from restore_hub.bilevel.outer import Pull, shares_batch, step_upper
from restore_hub.bilevel.outer_product import OuterProduct, check_zero_sum, outer_product
from restore_hub.bilevel.solvers.state import Logs, State, new_state
from restore_hub.bilevel.vectors import norm
from restore_hub.contracts import Batches, Problem
from restore_hub.errors import OptionError


class Ibgl:
    """k lower steps, answered for by the outer-product ratio: `restore_hub.bilevel.outer_product`.

    Gradient: G = dF_upper/dtheta - s dF_lower/dtheta, s = <g_l, g_u> / <g_l, g_l>, everything at the omega after
    the last lower step, F_lower on the last lower batch. Meant to follow a warm start (`joint`); the paper takes
    80 lower steps for enhancement and 30 for detection.

    Args:
        cap: largest norm of the response, in running medians of past norms, > 1; none for no bound.

    Reference:
        Bilevel Generative Learning (ACM MM 2023), Eq. 9 and Alg. 2.
    """

    levels = 2
    responds = True

    def __init__(self, cap: float | None = 10.0) -> None:
        if cap is not None and not cap > 1:
            raise OptionError(f"cap is a factor above 1, or none, got {cap}", "cap")
        self.cap = cap

    def init(self, problem: Problem, optimizers: Sequence[optim.Optimizer]) -> State:
        """Return the state; BilevelError where an optimizer does not hold its level's variables."""
        return new_state(optimizers, (problem.theta, problem.omega))

    def step(self, problem: Problem, state: State, batches: Batches) -> tuple[State, Logs]:
        """Take `batches.steps` lower steps and one upper step."""
        shared = shares_batch(batches)
        below = descend(problem, state.optimizers[1], batches, graph=True)
        at_response = evaluate(problem, "lower", below.x, problem.omega, batches.lower[-1])
        x = below.x if shared else problem.couple(batches.upper)
        above = evaluate(problem, "upper", x, problem.omega, batches.upper, optional=("x",))
        response = self._respond(state, at_response, above, shared)
        step_upper(problem, state.optimizers[0], Pull(x, above.x), Pull(below.x, response.x))
        if self.cap is not None:
            state.history = cap.record(state.history, response.raw_norm)
        return state, {
            "loss/upper": above.value,
            "loss/lower": below.loss,
            "s": response.s,
            "g_lower": response.g_lower,
            "cosine": response.cosine,
            "response_norm": response.norm,
            "direct_norm": norm(above.x),
            "capped": response.capped,
        }

    def _respond(self, state: State, lower: Gradients, upper: Gradients, shared: bool) -> OuterProduct:
        limit = None if self.cap is None else cap.limit(state.history, self.cap)
        response = outer_product(lower.omega, upper.omega, lower.x, limit)
        if shared:
            check_zero_sum(lower, upper, response)
        return response

    def evaluations(self, lower_steps: int) -> int:
        """Return lower_steps + 2: the lower steps, both gradients of F_lower at omega_hat, those of F_upper."""
        return lower_steps + 2
