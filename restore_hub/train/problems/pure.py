"""Whether the energies of two levels see their variables only through the tensors that they are given."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from restore_hub.bilevel import Tensors, differentiate, pull_back
from restore_hub.contracts import Batches, LevelPair
from restore_hub.errors import BilevelError
from restore_hub.spec import Level


def check_pure(pair: LevelPair, blocks: nn.ModuleDict, levels: Sequence[Level], batches: Batches) -> None:
    """Refuse blocks whose gradients would be wrong in silence.

    Solvers evaluate energies at other tensors than the live variables. A block that reaches a live variable some other
    way, such as through a view that it made when it was constructed, computes a part at the wrong point, and the
    variable gets no gradient from it. So the energies run once, forward and backward, with NaN in the live variables,
    to which no gradient may flow. Variables, buffers and random states are restored.

    Args:
        pair: two levels of a stage.
        blocks: all blocks of what trains.
        levels: of the stage.
        batches: of one step; the first lower batch is used.

    Raises:
        BilevelError: a variable that is reached another way, that belongs to two levels, or whose gradient is lost in a
            `backward` that a block calls by itself.
    """
    _check_sharing(blocks, levels)
    with _restored(pair, blocks) as values:
        if _finite(pair, batches, values, set(values)) or not _finite(pair, batches, values, set()):
            return  # energies that aren't finite anyway are an error of the first step
        names = zip(values, (*pair.theta_names, *pair.omega_names), strict=True)
        raise BilevelError(
            "train.second-reference", next(name for w, name in names if not _finite(pair, batches, values, {w}))
        )


def _check_sharing(blocks: nn.ModuleDict, levels: Sequence[Level]) -> None:
    """Refuse a parameter in blocks of two levels, or of a level and of none."""
    level_of = {block: index for index, level in enumerate(levels) for block in level.blocks}
    places: dict[Tensor, tuple[str, str]] = {}
    for block, module in blocks.items():
        for key, parameter in module.named_parameters():
            other, name = places.setdefault(parameter, (block, f"{block}.{key}"))
            if parameter.requires_grad and level_of.get(block) != level_of.get(other):
                raise BilevelError("train.parameter-in-two-levels", f"{block}.{key}", other=name)


@contextmanager
def _restored(pair: LevelPair, blocks: nn.ModuleDict) -> Iterator[Mapping[Tensor, Tensor]]:
    """Hand out copies of the variables; afterwards put these, the buffers and the random states back."""
    values = {w: w.detach().clone() for w in (*pair.theta, *pair.omega)}
    buffers = [(buffer, buffer.clone()) for buffer in blocks.buffers()]
    device = pair.omega[0].device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield values
        finally:
            with torch.no_grad():
                for live, value in (*values.items(), *buffers):
                    live.copy_(value)


def _finite(pair: LevelPair, batches: Batches, values: Mapping[Tensor, Tensor], spoilt: set[Tensor]) -> bool:
    """Whether both energies and their gradients are finite at the values, with NaN in some of the live variables."""
    _spoil(pair.theta, values, set())  # `couple` reads the live theta
    _spoil(pair.omega, values, spoilt)
    points = []
    for energy, batch in ((pair.upper, batches.upper), (pair.lower, batches.lower[0])):
        coupled = pair.couple(batch)
        seen = _reached(pair.omega_names, pull_back(coupled, coupled, pair.omega, keep=True))
        if seen:
            raise BilevelError("train.second-reference", seen)
        x = tuple(t.detach().clone().requires_grad_() for t in coupled)
        points.append((energy, x, batch))
    _spoil(pair.theta, values, spoilt)
    found = []
    for energy, x, batch in points:
        omega = tuple(values[w].detach().requires_grad_() for w in pair.omega)
        value = energy(x, omega, batch)
        gradient = differentiate(value, (*x, *omega, *values))
        seen = _reached((*pair.theta_names, *pair.omega_names), gradient[len(x) + len(omega) :])
        if seen:
            raise BilevelError("train.second-reference", seen)
        lost = _reached(pair.omega_names, [w.grad for w in omega])
        if lost:
            raise BilevelError("train.backward-inside", lost)
        found += [value.detach(), *(g for g in gradient if g is not None)]
    return all(bool(t.isfinite().all()) for t in found)


def _reached(names: Sequence[str], gradients: Sequence[Tensor | None]) -> str:
    """Return the name of the first variable that has a gradient; empty if none has."""
    return next((name for name, gradient in zip(names, gradients, strict=True) if gradient is not None), "")


@torch.no_grad()
def _spoil(variables: Tensors, values: Mapping[Tensor, Tensor], spoilt: set[Tensor]) -> None:
    for w in variables:
        w.copy_(torch.full_like(w, math.nan) if w in spoilt else values[w])
