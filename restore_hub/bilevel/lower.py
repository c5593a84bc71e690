"""The lower level: k optimizer steps on omega, in place, with x detached."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, optim

from restore_hub.bilevel.apply import apply, release
from restore_hub.bilevel.coupling import Levels, coupled
from restore_hub.bilevel.gradients import evaluate
from restore_hub.bilevel.vectors import Tensors
from restore_hub.contracts import Batches, LevelPair


class Descent(NamedTuple):
    """What the lower level passes to the upper one.

    Attributes:
        x: coupling tensors of the last lower batch, with their graph if requested.
        loss: F_lower before the last step, a detached scalar.
        omega_grad: g_l before the last step.
    """

    x: Tensors
    loss: Tensor
    omega_grad: Tensors


def descend(
    pair: LevelPair,
    optimizer: optim.Optimizer,
    batches: Batches,
    *,
    graph: bool = False,
    levels: Levels | None = None,
) -> Descent:
    """Take `batches.steps` lower steps on F_lower(x_i, omega), i = 1..k, where x_i = couple(lower batch i).

    The upper block runs forward once for each lower batch and never backward; a single lower batch serves every step.
    Only the last batch's x gets a graph, and only with `graph`.

    Args:
        pair: omega is updated in place, and its `.grad` left empty.
        optimizer: any torch optimizer of omega.
        batches: `lower` holds one batch, or one per step.
        graph: keep the graph from theta to the last batch's x.
        levels: x of both levels' batches, if known.

    Raises:
        BilevelError: the number of batches is wrong, or an energy isn't a finite scalar that depends on omega. A step
            whose gradient isn't finite is not taken; the steps before it remain.
    """
    for x, batch in coupled(pair, batches, graphs=int(graph), levels=levels):
        found = evaluate(pair, "lower", x, pair.omega, batch, wrt=("omega",))
        apply(optimizer, pair.omega, found.omega)
    release(pair.omega)
    return Descent(x, found.value, found.omega)
