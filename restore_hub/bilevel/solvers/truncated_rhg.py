"""Reverse mode through the last lower steps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import optim

from restore_hub.bilevel.coupling import couple_levels
from restore_hub.bilevel.gradients import evaluate
from restore_hub.bilevel.outer import Pull, step_upper
from restore_hub.bilevel.reduction import reduction_of
from restore_hub.bilevel.solvers.state import Logs, State, new_state, report
from restore_hub.bilevel.unroll import reverse, unroll
from restore_hub.bilevel.update import check_differentiable
from restore_hub.contracts import Batches, LevelPair
from restore_hub.errors import OptionError


class TruncatedRhg:
    """Reverse mode through the last T of K lower steps, kept in a graph: `restore_hub.bilevel.unroll`.

    Gradient: G = dF_upper/dtheta + (d omega_K / dtheta)^T dF_upper/domega, with omega_(K-T) constant; earlier steps run
    in place. With T = K it is `rhg`. The error of truncation shrinks like (1 - eta mu)^T, where mu is the smallest
    curvature of F_lower. The lower optimizer is SGD (with or without momentum), Adam or AdamW. Once |g_l| is far below
    Adam's `eps`, a step multiplies a change of g_l by up to lr / eps: exact for these steps, but far from the response
    at the optimum.

    Memory grows with T. Cost: K gradients of F_lower, one of F_upper, and T Hessian-vector products.

    Args:
        last: T >= 1, how many of the last lower steps to differentiate; all if there are fewer.

    Reference:
        Shaban et al., Truncated Back-propagation for Bilevel Optimization, AISTATS 2019.
    """

    levels = 2
    responds = True
    parallel = True

    def __init__(self, last: int = 5) -> None:
        if not isinstance(last, int) or last < 1:
            raise OptionError("bilevel.not-a-count", "last", got=last)
        self.last: int | None = last

    def init(self, pair: LevelPair, optimizers: Sequence[optim.Optimizer]) -> State:
        """Return the state; BilevelError if an optimizer isn't its level's, or the lower one's step isn't known."""
        state = new_state(optimizers, (pair.theta, pair.omega))
        check_differentiable(state.optimizers[1])
        return state

    def step(self, pair: LevelPair, state: State, batches: Batches) -> tuple[State, Logs]:
        """Take `batches.steps` lower steps and one upper step."""
        levels = couple_levels(pair, batches)
        x = levels.upper
        below = unroll(pair, state.optimizers[1], batches, last=self.last, levels=levels)
        above = evaluate(pair, "upper", x, pair.omega, batches.upper, optional=("x",))
        logs = report(pair, below.loss, below.omega_grad, above)
        below = below._replace(omega_grad=())  # free a vector of the size of omega
        response = reverse(below, above.omega)
        step_upper(pair, state.optimizers[0], Pull(x, above.x), *map(Pull, below.x, response))
        return state, {**logs, "response_norm": reduction_of(pair).norm(*response)}

    def evaluations(self, lower_steps: int) -> int:
        """Return K + T + 1: the lower gradients, the reverse pass through T of them, and F_upper's."""
        kept = lower_steps if self.last is None else min(self.last, lower_steps)
        return lower_steps + kept + 1
