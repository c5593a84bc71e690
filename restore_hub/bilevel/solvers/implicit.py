"""The part that `cg` and `neumann` share: lower steps, then an implicit response."""

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

# Optimizers that add their weight decay to the gradient; others shrink the weights separately.
COUPLED = (
    *(optim.SGD, optim.ASGD, optim.Adam, optim.NAdam, optim.RAdam, optim.Adamax),
    *(optim.Adagrad, optim.Adadelta, optim.RMSprop),
)


class ImplicitSolver(ABC):
    """k lower steps without a graph, then the response of `restore_hub.bilevel.implicit` on the last lower batch.

    If the lower optimizer adds weight decay to the gradient (SGD, Adam, RMSprop and the like), it counts as the term
    decay |omega|^2 / 2 of F_lower, whose curvature is the decay. If it shrinks the weights separately, as AdamW does,
    it doesn't count: that lower level settles near the minimum of F_lower, at a point that minimises no energy.

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

    def init(self, pair: LevelPair, optimizers: Sequence[optim.Optimizer]) -> State:
        """Return the state; BilevelError if an optimizer isn't its level's, or the lower one maximises."""
        state = new_state(optimizers, (pair.theta, pair.omega))
        if any(group.get("maximize") for group in state.optimizers[1].param_groups):
            raise BilevelError("bilevel.lower-maximises", type(state.optimizers[1]).__name__)
        return state

    def step(self, pair: LevelPair, state: State, batches: Batches) -> tuple[State, Logs]:
        """Take `batches.steps` lower steps and one upper step."""
        x, x_lower = levels = couple_levels(pair, batches)
        lower_loss = descend(pair, state.optimizers[1], batches, levels=levels).loss
        above = evaluate(pair, "upper", x, pair.omega, batches.upper, optional=("x",))
        decays = weight_decays(state.optimizers[1], pair.omega)

        def solve(product: Operator, g_u: Tensors) -> Solution:
            return self.solve(state, decayed(product, decays), g_u)

        response = implicit(pair, x_lower, batches.lower[-1], above.omega, solve)
        step_upper(pair, state.optimizers[0], Pull(x, above.x), Pull(x_lower, response.x))
        return state, {
            **report(pair, lower_loss, response.g_lower, above, response.x),
            "residual": response.solution.residual,
            "negative_curvature": response.solution.negative_curvature,
        }

    def evaluations(self, lower_steps: int) -> int:
        """Return k + 2 + iterations: the lower steps, g_l with its graph, F_upper's, and each product H p."""
        return lower_steps + 2 + self.iterations


def weight_decays(optimizer: optim.Optimizer, omega: Tensors) -> list[float]:
    """Return the curvature that an optimizer's weight decay adds to F_lower; 0 if it isn't part of the gradient."""
    decays = {id(w): _decay(optimizer, group) for group in optimizer.param_groups for w in group["params"]}
    return [decays[id(w)] for w in omega]


def _decay(optimizer: optim.Optimizer, group: dict[str, Any]) -> float:
    coupled = isinstance(optimizer, COUPLED) and not isinstance(optimizer, optim.AdamW)  # a subclass of Adam
    return float(group["weight_decay"]) if coupled and not group.get("decoupled_weight_decay") else 0.0


def decayed(product: Operator, decays: Sequence[float]) -> Operator:
    """Return p -> H p + decay p, tensor by tensor."""
    if not any(decays):
        return product
    return lambda p: tuple(h + decay * v for h, decay, v in zip(product(p), decays, p, strict=True))


def check_system(iterations: int, damping: float) -> None:
    """Raise OptionError unless the options of a linear system are in range."""
    if not isinstance(iterations, int) or iterations < 1:
        raise OptionError("bilevel.not-a-count", "iterations", got=iterations)
    if not 0 <= damping < math.inf:
        raise OptionError("bilevel.negative", "damping", got=damping)
