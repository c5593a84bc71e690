"""What `cg` and `neumann` share: lower steps, and an implicit response after the last of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import optim

from restore_hub.bilevel.coupling import couple_levels
from restore_hub.bilevel.gradients import evaluate
from restore_hub.bilevel.implicit import Operator, Solution, implicit
from restore_hub.bilevel.lower import descend
from restore_hub.bilevel.outer import Pull, step_upper
from restore_hub.bilevel.solvers.state import Logs, State, new_state, report
from restore_hub.bilevel.vectors import Tensors
from restore_hub.contracts import Batches, LevelPair
from restore_hub.errors import BilevelError, OptionError

# Optimizers that add their weight decay to the gradient. Others, which shrink the weights beside it, are many.
COUPLED = (
    *(optim.SGD, optim.ASGD, optim.Adam, optim.NAdam, optim.RAdam, optim.Adamax),
    *(optim.Adagrad, optim.Adadelta, optim.RMSprop),
)


class ImplicitSolver(ABC):
    """k lower steps without a graph, then the response of `restore_hub.bilevel.implicit` on the last lower batch.

    Weight decay of the lower optimizer counts as the term of F_lower that it stands for, decay |omega|^2 / 2, whose
    curvature is the decay, where the optimizer adds it to the gradient (SGD, Adam, RMSprop and the like). Not so where
    it shrinks the weights beside it, as in AdamW: such a lower level settles where no energy is least, though near the
    minimum of F_lower.

    Attributes:
        iterations: most Hessian-vector products of an outer step.
    """

    levels = 2
    responds = True
    parallel = True
    iterations: int

    @abstractmethod
    def solve(self, state: State, product: Operator, g_u: Tensors) -> Solution:
        """Return z with H z = g_u, from p -> H p."""

    def init(self, problem: LevelPair, optimizers: Sequence[optim.Optimizer]) -> State:
        """Return the state; BilevelError where an optimizer is not its level's, or the lower one maximises."""
        state = new_state(optimizers, (problem.theta, problem.omega))
        if any(group.get("maximize") for group in state.optimizers[1].param_groups):
            raise BilevelError(
                "the lower optimizer maximises F_lower, whose Hessian is then not positive definite, as an implicit "
                "response needs it; minimise the negative energy instead"
            )
        return state

    def step(self, problem: LevelPair, state: State, batches: Batches) -> tuple[State, Logs]:
        """Take `batches.steps` lower steps and one upper step."""
        x, x_lower = levels = couple_levels(problem, batches)
        lower_loss = descend(problem, state.optimizers[1], batches, levels=levels).loss
        above = evaluate(problem, "upper", x, problem.omega, batches.upper, optional=("x",))
        decays = weight_decays(state.optimizers[1], problem.omega)

        def solve(product: Operator, g_u: Tensors) -> Solution:
            return self.solve(state, decayed(product, decays), g_u)

        response = implicit(problem, x_lower, batches.lower[-1], above.omega, solve)
        step_upper(problem, state.optimizers[0], Pull(x, above.x), Pull(x_lower, response.x))
        return state, {
            **report(problem, lower_loss, response.g_lower, above, response.x),
            "residual": response.solution.residual,
            "negative_curvature": response.solution.negative_curvature,
        }

    def evaluations(self, lower_steps: int) -> int:
        """Return k + 2 + iterations: lower steps, g_l with its graph, F_upper, and each product H p as one."""
        return lower_steps + 2 + self.iterations


def weight_decays(optimizer: optim.Optimizer, omega: Tensors) -> list[float]:
    """Return by how much an optimizer's weight decay, where it is part of the gradient, curves F_lower."""
    decays = {id(w): _decay(optimizer, group) for group in optimizer.param_groups for w in group["params"]}
    return [decays[id(w)] for w in omega]


def _decay(optimizer: optim.Optimizer, group: dict[str, Any]) -> float:
    coupled = isinstance(optimizer, COUPLED) and not isinstance(optimizer, optim.AdamW)  # which is an Adam to torch
    return float(group["weight_decay"]) if coupled and not group.get("decoupled_weight_decay") else 0.0


def decayed(product: Operator, decays: Sequence[float]) -> Operator:
    """Return p -> H p + decay p, tensor by tensor."""
    if not any(decays):
        return product
    return lambda p: tuple(h + decay * v for h, decay, v in zip(product(p), decays, p, strict=True))


def check_system(iterations: int, damping: float) -> None:
    """Raise OptionError unless the options of a linear system make sense."""
    if not isinstance(iterations, int) or iterations < 1:
        raise OptionError(f"iterations is a number from 1 up, got {iterations}", "iterations")
    if not 0 <= damping < math.inf:
        raise OptionError(f"damping is a finite number from 0 up, got {damping}", "damping")
