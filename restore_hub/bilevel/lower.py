"""The lower level: k steps of an optimizer on omega, in place, with x detached."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, optim

from restore_hub.bilevel.apply import apply
from restore_hub.bilevel.gradients import evaluate
from restore_hub.bilevel.vectors import Tensors
from restore_hub.contracts import Batches, Problem
from restore_hub.errors import BilevelError


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


def descend(problem: Problem, optimizer: optim.Optimizer, batches: Batches, *, graph: bool) -> Descent:
    """Take `batches.steps` lower steps on F_lower(x_i, omega), i = 1..k, where x_i = couple(lower batch i).

    The upper block runs forward once for each lower batch and never backward; with one lower batch its x serves
    every step. Only the last batch's graph is built, and only where `graph` asks for it.

    Args:
        problem: omega is updated in place, its `.grad` holds the last gradient.
        optimizer: any torch optimizer over omega.
        batches: `lower` holds one batch, or one for each step.
        graph: keep the graph from theta to the last batch's x.

    Raises:
        BilevelError: the number of batches fits neither case, or an energy is not a finite scalar that depends
            on omega. A step whose gradient is not finite is not taken; those before it stand.
    """
    for x, batch in coupled(problem, batches, graphs=int(graph)):
        found = evaluate(problem, "lower", x, problem.omega, batch, wrt=("omega",))
        apply(optimizer, problem.omega, found.omega)
    return Descent(x, found.value, found.omega)


def coupled(
    problem: Problem, batches: Batches, *, graphs: int, upper: Tensors | None = None
) -> Iterator[tuple[Tensors, Any]]:
    """Yield x and the batch of each lower step; steps on one batch get the very same x.

    Args:
        problem: supplies `couple`.
        batches: of the outer step.
        graphs: of how many steps, counted from the last, x is wanted with its graph.
        upper: x of the upper batch, with its graph, where it is known already: it serves a lower step on that batch.

    Raises:
        BilevelError: as `check_batches` does.
    """
    check_batches(batches)
    last = len(batches.lower) - 1
    for i in range(batches.steps):
        batch = batches.lower[min(i, last)]
        if upper is not None and batch is batches.upper:
            x = upper
        elif i <= last:
            with torch.set_grad_enabled(graphs > batches.steps - 1 - i or (graphs > 0 and i == last)):
                x = problem.couple(batch)
        yield x, batch


def check_batches(batches: Batches) -> None:
    """Raise BilevelError unless there is at least one lower step, and one lower batch or one for each step."""
    if batches.steps < 1:
        raise BilevelError(f"a solver takes at least one lower step, got steps={batches.steps}")
    if len(batches.lower) not in (1, batches.steps):
        raise BilevelError(
            f"{len(batches.lower)} lower batches for {batches.steps} lower steps; give one batch for each step, or "
            "one for all"
        )
