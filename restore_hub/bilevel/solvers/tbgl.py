"""One lower step and its response by a finite difference."""

from __future__ import annotations

from collections.abc import Sequence

from torch import optim

from restore_hub.bilevel.coupling import couple_levels
from restore_hub.bilevel.finite_difference import along, finite_difference
from restore_hub.bilevel.gradients import evaluate
from restore_hub.bilevel.lower import descend
from restore_hub.bilevel.outer import Pull, step_upper
from restore_hub.bilevel.preconditioner import check_supported, preconditioner
from restore_hub.bilevel.solvers.state import Logs, State, new_state, report
from restore_hub.contracts import Batches, LevelPair
from restore_hub.errors import BilevelError, OptionError


class Tbgl:
    """One lower step, then its response by a central difference: `restore_hub.bilevel.finite_difference`.

    Gradient: G = dF_upper/dtheta - d^2 F_lower / dtheta domega * P dF_upper/domega'. The lower optimizer is SGD
    without momentum, or Adam or AdamW after a warm start.

    Args:
        radius: distance of the difference's ends from its centre in omega, > 0.

    Reference:
        Bilevel Generative Learning (ACM MM 2023), Eq. 5 and Alg. 1, with the direction corrected.
    """

    levels = 2
    responds = True
    parallel = True

    def __init__(self, radius: float = 0.01) -> None:
        if not radius > 0:
            raise OptionError("bilevel.not-positive", "radius", got=radius)
        self.radius = radius

    def init(self, pair: LevelPair, optimizers: Sequence[optim.Optimizer]) -> State:
        """Return the state; BilevelError if an optimizer isn't its level's, or the lower one's P isn't known."""
        state = new_state(optimizers, (pair.theta, pair.omega))
        check_supported(state.optimizers[1])
        return state

    def step(self, pair: LevelPair, state: State, batches: Batches) -> tuple[State, Logs]:
        """Take one lower step and one upper step."""
        self.evaluations(batches.steps)
        check_supported(state.optimizers[1])  # settings and hooks may have changed since `init`
        before = tuple(w.detach().clone() for w in pair.omega)
        x, x_lower = levels = couple_levels(pair, batches)
        below = descend(pair, state.optimizers[1], batches, levels=levels)
        above = evaluate(pair, "upper", x, pair.omega, batches.upper, optional=("x",))
        logs = report(pair, below.loss, below.omega_grad, above)
        direct, direction = above.x, along(preconditioner(state.optimizers[1], pair.omega), above.omega)
        del below, above  # free vectors of the size of omega before the difference
        response = finite_difference(pair, x_lower, before, direction, batches.lower[-1], self.radius)
        step_upper(pair, state.optimizers[0], Pull(x, direct), Pull(x_lower, response.x))
        return state, {**logs, "response_norm": response.norm}

    def evaluations(self, lower_steps: int) -> int:
        """Return 4: the lower step, F_upper's, and the two ends'; BilevelError for more than one lower step."""
        if lower_steps != 1:
            raise BilevelError("bilevel.one-lower-step", "tbgl", got=lower_steps)
        return 4
