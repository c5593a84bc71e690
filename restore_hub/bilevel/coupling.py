"""The coupling tensors x(theta) of an outer step's batches, each computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from restore_hub.bilevel.gradients import Level
from restore_hub.bilevel.vectors import Tensors
from restore_hub.contracts import Batches, LevelPair
from restore_hub.errors import BilevelError


class Levels(NamedTuple):
    """Coupling tensors of the upper batch and of the last lower one, with graphs; the same objects for one batch."""

    upper: Tensors
    lower: Tensors


def shares_batch(batches: Batches) -> bool:
    """Whether the upper batch is the same object as the last lower one, so that one coupling serves both.

    Raises:
        BilevelError: as `check_batches`.
    """
    check_batches(batches)
    return batches.upper is batches.lower[-1]


def couple_levels(pair: LevelPair, batches: Batches) -> Levels:
    """Return x of the upper batch and of the last lower one, from one pass for one batch or with `couple_both`.

    Raises:
        BilevelError: as `check_batches`; or `couple` doesn't return a tuple of real tensors.
    """
    check_batches(batches)
    last = batches.lower[-1]
    if last is batches.upper:
        x = couple(pair, last)
        return Levels(x, x)
    if hasattr(pair, "couple_both"):
        lower, upper = pair.couple_both(last, batches.upper)
        return Levels(upper, lower)
    lower = couple(pair, last, "lower")
    return Levels(couple(pair, batches.upper), lower)


def coupled(
    pair: LevelPair, batches: Batches, *, graphs: int, levels: Levels | None = None
) -> Iterator[tuple[Tensors, Any]]:
    """Yield x and the batch of each lower step; with a single lower batch, every step gets the same x.

    If the pair has `settle`, it is called before each step.

    Args:
        pair: supplies `couple`.
        batches: of the outer step.
        graphs: how many of the last steps need x with its graph.
        levels: x of the upper batch and of the last lower one, if known; the first also serves lower steps on the upper
            batch.

    Raises:
        BilevelError: as `couple_levels`.
    """
    check_batches(batches)
    last, settle = len(batches.lower) - 1, getattr(pair, "settle", None)
    for i in range(batches.steps):
        batch = batches.lower[min(i, last)]
        if levels is not None and i >= last:
            x = levels.lower
        elif levels is not None and batch is batches.upper:
            x = levels.upper
        elif i <= last:
            with torch.set_grad_enabled(graphs > batches.steps - 1 - i or (graphs > 0 and i == last)):
                x = couple(pair, batch, "upper" if batch is batches.upper else "lower")
        if settle is not None:
            settle(x, batch)
        yield x, batch


def couple(pair: LevelPair, batch: Any, level: Level = "upper") -> Tensors:
    """Return x, checked: a bare tensor would pass for a tuple of its rows.

    Args:
        pair: supplies `couple`, or `couple_lower` for batches of the lower level.
        batch: of either level.
        level: whose batch it is.
    """
    x: Any = (getattr(pair, "couple_lower", pair.couple) if level == "lower" else pair.couple)(batch)
    if not isinstance(x, (tuple, list)):
        raise BilevelError("bilevel.coupling-not-a-tuple", "couple", got=type(x).__name__)
    for i, t in enumerate(x):
        if not isinstance(t, Tensor) or not t.is_floating_point():
            kind = t.dtype if isinstance(t, Tensor) else type(t).__name__
            raise BilevelError("bilevel.coupling-not-real", f"x[{i}]", got=str(kind))
    return tuple(x)


def check_batches(batches: Batches) -> None:
    """Raise BilevelError unless there is at least one lower step, and a list of one lower batch or one per step."""
    if not isinstance(batches.steps, int) or batches.steps < 1:
        raise BilevelError("bilevel.no-lower-steps", "batches.steps", got=batches.steps)
    if not isinstance(batches.lower, Sequence):
        raise BilevelError("bilevel.lower-not-a-list", "batches.lower", got=type(batches.lower).__name__)
    if len(batches.lower) not in (1, batches.steps):
        raise BilevelError("bilevel.lower-batches", "batches.lower", got=len(batches.lower), steps=batches.steps)
