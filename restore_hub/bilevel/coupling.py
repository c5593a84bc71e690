"""What the energies see of theta: x of the batches of an outer step, each made once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from restore_hub.bilevel.vectors import Tensors
from restore_hub.contracts import Batches, LevelPair
from restore_hub.errors import BilevelError


class Levels(NamedTuple):
    """Coupling tensors of the upper batch and of the last lower one, with their graphs; the very same for one batch."""

    upper: Tensors
    lower: Tensors


def shares_batch(batches: Batches) -> bool:
    """Whether the upper batch is the very object of the last lower step, so that one coupling serves both.

    Raises:
        BilevelError: as `check_batches` does.
    """
    check_batches(batches)
    return batches.upper is batches.lower[-1]


def couple_levels(problem: LevelPair, batches: Batches) -> Levels:
    """Return x of the upper batch and of the last lower one: from one pass if it is one batch, or the problem can.

    Raises:
        BilevelError: as `check_batches` does, or `couple` returns no tuple.
    """
    check_batches(batches)
    last = batches.lower[-1]
    if last is batches.upper:
        x = couple(problem, last)
        return Levels(x, x)
    if hasattr(problem, "couple_both"):
        lower, upper = problem.couple_both(last, batches.upper)
        return Levels(upper, lower)
    lower = couple(problem, last)
    return Levels(couple(problem, batches.upper), lower)


def coupled(
    problem: LevelPair, batches: Batches, *, graphs: int, levels: Levels | None = None
) -> Iterator[tuple[Tensors, Any]]:
    """Yield x and the batch of each lower step; where there is one lower batch, all steps get the very same x.

    Args:
        problem: supplies `couple`.
        batches: of the outer step.
        graphs: of how many steps, counted from the last, x is wanted with its graph.
        levels: where known already, x of the upper batch, which serves a lower step on that batch, too, and of the last
            lower one.

    Raises:
        BilevelError: as `check_batches` does, or `couple` returns no tuple.
    """
    check_batches(batches)
    last = len(batches.lower) - 1
    for i in range(batches.steps):
        batch = batches.lower[min(i, last)]
        if levels is not None and i >= last:
            x = levels.lower
        elif levels is not None and batch is batches.upper:
            x = levels.upper
        elif i <= last:
            with torch.set_grad_enabled(graphs > batches.steps - 1 - i or (graphs > 0 and i == last)):
                x = couple(problem, batch)
        yield x, batch


def couple(problem: LevelPair, batch: Any) -> Tensors:
    """Return x; a tensor alone would be taken for a tuple of its rows, of which energies see the first one."""
    x = problem.couple(batch)
    if not isinstance(x, (tuple, list)):
        raise BilevelError(
            f"couple must return a tuple of tensors, got {type(x).__name__}; `return (x,)` for one tensor"
        )
    for i, t in enumerate(x):
        if not isinstance(t, Tensor) or not t.is_floating_point():
            kind = t.dtype if isinstance(t, Tensor) else type(t).__name__
            raise BilevelError(
                f"couple must return tensors of real numbers, got {kind} for x[{i}]; labels and the like belong into "
                "the batch, complex numbers are pairs (`torch.view_as_real`)"
            )
    return x


def check_batches(batches: Batches) -> None:
    """Raise BilevelError unless there is at least one lower step, and a list of one lower batch or one a step."""
    if not isinstance(batches.steps, int) or batches.steps < 1:
        raise BilevelError(f"a solver takes a number of lower steps, at least one, got steps={batches.steps}")
    if not isinstance(batches.lower, Sequence):
        raise BilevelError(
            f"`lower` of Batches is a list of batches, got {type(batches.lower).__name__}; `[batch]` for one that "
            "serves all steps"
        )
    if len(batches.lower) not in (1, batches.steps):
        raise BilevelError(
            f"{len(batches.lower)} lower batches for {batches.steps} lower steps; give one batch for each step, or "
            "one for all"
        )
