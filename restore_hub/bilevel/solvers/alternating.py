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

    Gradient: G = dF_upper/dtheta at the stepped omega. It ignores the lower level's response to theta, so no claim of
    convergence to the bilevel optimum applies to this solver. F_upper needn't depend on omega.

    Reference:
        Learning with Constraint Learning (TPAMI 2024), III-C (alternating direction iteration).
    """

    levels = 2
    responds = False
    parallel = True

    def init(self, pair: LevelPair, optimizers: Sequence[optim.Optimizer]) -> State:
        """Return the state; BilevelError if an optimizer doesn't hold its level's variables."""
        return new_state(optimizers, (pair.theta, pair.omega))

    def step(self, pair: LevelPair, state: State, batches: Batches) -> tuple[State, Logs]:
        """Take `batches.steps` lower steps and one upper step."""
        shared = shares_batch(batches)
        below = descend(pair, state.optimizers[1], batches, graph=shared)
        x = below.x if shared else couple(pair, batches.upper)
        above = evaluate(pair, "upper", x, pair.omega, batches.upper, wrt=("x",))
        step_upper(pair, state.optimizers[0], Pull(x, above.x))
        return state, {"loss/upper": above.value, "loss/lower": below.loss}

    def evaluations(self, lower_steps: int) -> int:
        """Return k + 1: the lower gradients, and dF_upper/dx."""
        return lower_steps + 1
