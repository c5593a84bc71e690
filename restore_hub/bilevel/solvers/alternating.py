"""Both levels in turn, without a response."""

from __future__ import annotations

from collections.abc import Sequence

from torch import optim

from restore_hub.bilevel.coupling import couple, shares_batch
from restore_hub.bilevel.gradients import evaluate
from restore_hub.bilevel.lower import descend
from restore_hub.bilevel.outer import Pull, step_upper
from restore_hub.bilevel.solvers.state import Logs, State, new_state
from restore_hub.contracts import Batches, LevelPair


class Alternating:
    """Lower steps, then an upper step along dF_upper/dtheta alone: the response term is dropped.

    Gradient: G = dF_upper/dtheta at the stepped omega. The lower level's answer to theta is ignored, so this
    solver is exempt from every claim of convergence to the bilevel optimum. F_upper need not depend on omega.

    Reference:
        Learning with Constraint Learning (TPAMI 2024), III-C (alternating direction iteration).
    """

    levels = 2
    responds = False
    parallel = True

    def init(self, problem: LevelPair, optimizers: Sequence[optim.Optimizer]) -> State:
        """Return the state; BilevelError where an optimizer does not hold its level's variables."""
        return new_state(optimizers, (problem.theta, problem.omega))

    def step(self, problem: LevelPair, state: State, batches: Batches) -> tuple[State, Logs]:
        """Take `batches.steps` lower steps and one upper step."""
        shared = shares_batch(batches)
        below = descend(problem, state.optimizers[1], batches, graph=shared)
        x = below.x if shared else couple(problem, batches.upper)
        above = evaluate(problem, "upper", x, problem.omega, batches.upper, wrt=("x",))
        step_upper(problem, state.optimizers[0], Pull(x, above.x))
        return state, {"loss/upper": above.value, "loss/lower": below.loss}

    def evaluations(self, lower_steps: int) -> int:
        """Return lower_steps + 1: the lower gradients, and dF_upper/dx."""
        return lower_steps + 1
