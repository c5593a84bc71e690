"""The lower level: k steps of an optimizer on omega, in place, with x detached."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, optim

from restore_hub.bilevel.apply import apply, release
from restore_hub.bilevel.coupling import Levels, coupled
from restore_hub.bilevel.gradients import evaluate
from restore_hub.bilevel.vectors import Tensors
from restore_hub.contracts import Batches, LevelPair


class Descent(NamedTuple):
    """What the lower level leaves for the upper one.

    Attributes:
        x: coupling tensors of the last lower batch, with their graph if it was asked for.
        loss: F_lower before the last step, a detached scalar.
        omega_grad: g_l before the last step.
    """

    x: Tensors
    loss: Tensor
    omega_grad: Tensors


def descend(
    problem: LevelPair,
    optimizer: optim.Optimizer,
    batches: Batches,
    *,
    graph: bool = False,
    levels: Levels | None = None,
) -> Descent:
    """Take `batches.steps` lower steps on F_lower(x_i, omega), i = 1..k, where x_i = couple(lower batch i).

    The upper block runs forward once for each lower batch and never backward; with one lower batch its x serves
    every step. Only the last batch's graph is built, and only where `graph` asks for it.

    Args:
        problem: omega is updated in place, its `.grad` is left empty.
        optimizer: any torch optimizer over omega.
        batches: `lower` holds one batch, or one for each step.
        graph: keep the graph from theta to the last batch's x.
        levels: x of both levels' batches, where they are known already.

    Raises:
        BilevelError: the number of batches fits neither case, or an energy is not a finite scalar that depends
            on omega. A step whose gradient is not finite is not taken; those before it stand.
    """
    for x, batch in coupled(problem, batches, graphs=int(graph), levels=levels):
        found = evaluate(problem, "lower", x, problem.omega, batch, wrt=("omega",))
        apply(optimizer, problem.omega, found.omega)
    release(problem.omega)
    return Descent(x, found.value, found.omega)
