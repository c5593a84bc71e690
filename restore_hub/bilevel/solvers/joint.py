"""One energy, one level: the warm start of the bilevel solvers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import optim

from restore_hub.bilevel.apply import apply
from restore_hub.bilevel.gradients import check_finite, check_scalar, differentiate, fill
from restore_hub.bilevel.reduction import reduction_of
from restore_hub.bilevel.solvers.state import Logs, State, new_state
from restore_hub.contracts import Batches, SingleLevel
from restore_hub.errors import BilevelError


class Joint:
    """All variables step together on one energy: the warm start of TBGL and IBGL. No hypergradient.

    Takes a `SingleLevel` and one optimizer; reads `batches.lower[0]`.

    Reference:
        Bilevel Generative Learning (ACM MM 2023), Alg. 1 line 3 and Alg. 2 line 2.
    """

    levels = 1
    responds = False
    parallel = True

    def init(self, level: SingleLevel, optimizers: Sequence[optim.Optimizer]) -> State:
        """Return the state; BilevelError for a level pair, or an optimizer that holds other variables."""
        if not hasattr(level, "variables"):
            raise BilevelError("bilevel.not-a-single-level", type(level).__name__)
        return new_state(optimizers, (level.variables,))

    def step(self, level: SingleLevel, state: State, batches: Batches) -> tuple[State, Logs]:
        """Take one step on F; log `loss`."""
        if batches.upper is not None or batches.steps != 1 or len(batches.lower) != 1:
            raise BilevelError("bilevel.not-a-single-batch", "batches")
        value = level.energy(batches.lower[0])
        check_scalar(value, "F")
        gradient = fill(differentiate(value, level.variables), level.variables, "the variables", "F")
        gradient = reduction_of(level).total(gradient)
        names = ("value of F", *(f"gradient of F by {name}" for name in level.names))
        check_finite((value.detach(), *gradient), names)
        apply(state.optimizers[0], level.variables, gradient)
        return state, {"loss": value.detach()}

    def evaluations(self, lower_steps: int) -> int:
        """Return 1: one gradient of F; BilevelError for more than one step."""
        if lower_steps != 1:
            raise BilevelError("bilevel.no-lower-level", "joint", got=lower_steps)
        return 1
