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

    Reads `batches.lower[0]`; takes a `SingleLevel` problem and one optimizer.

    Reference:
        Bilevel Generative Learning (ACM MM 2023), Alg. 1 line 3 and Alg. 2 line 2.
    """

    levels = 1
    responds = False
    parallel = True

    def init(self, problem: SingleLevel, optimizers: Sequence[optim.Optimizer]) -> State:
        """Return the state; BilevelError for a problem of two levels, or an optimizer that holds other variables."""
        if not hasattr(problem, "variables"):
            raise BilevelError(
                f"joint steps one energy, and {type(problem).__name__} has no `variables` and `energy`: give it a "
                "problem of one level (`restore_hub.contracts.SingleLevel`), or take another solver"
            )
        return new_state(optimizers, (problem.variables,))

    def step(self, problem: SingleLevel, state: State, batches: Batches) -> tuple[State, Logs]:
        """Take one step on F; log `loss`."""
        if batches.upper is not None or batches.steps != 1 or len(batches.lower) != 1:
            raise BilevelError("joint has one level: it takes one lower batch, no upper batch, and one step")
        value = problem.energy(batches.lower[0])
        check_scalar(value, "F")
        gradient = fill(differentiate(value, problem.variables), problem.variables, "the variables", "F")
        gradient = reduction_of(problem).total(gradient)
        names = ("the value of F", *(f"the gradient of F by {name}" for name in problem.names))
        check_finite((value.detach(), *gradient), names)
        apply(state.optimizers[0], problem.variables, gradient)
        return state, {"loss": value.detach()}

    def evaluations(self, lower_steps: int) -> int:
        """Return 1: one gradient of F; BilevelError for more than one step."""
        if lower_steps != 1:
            raise BilevelError(f"joint has no lower level to take {lower_steps} steps at")
        return 1
