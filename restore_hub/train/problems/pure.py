"""Whether the energies of two levels see their variables only through the tensors that they are given."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn

from restore_hub.bilevel import Tensors, differentiate, pull_back
from restore_hub.contracts import Batches, SingleLevel
from restore_hub.errors import BilevelError
from restore_hub.spec import Level
from restore_hub.train.problems.snapshot import Snapshot
from restore_hub.train.problems.trainable import StagePair, Trainable, live_levels


def check_pure(trainable: Trainable, levels: Sequence[Level], place: int, pair: StagePair, batches: Batches) -> None:
    """Refuse blocks whose gradients would be wrong in silence.

    Solvers evaluate energies at other tensors than the live variables. A block that reaches a live variable some other
    way, such as through a view that it made when it was constructed, computes a part at the wrong point, and the
    variable gets no gradient from it. A block that keeps what it computed from its weights, such as in a dictionary,
    uses it again with other weights.

    So the energies run once with NaN in all variables, live ones and given ones, and then, forward and backward, with
    NaN in the live variables alone. Nothing of either NaN may show, and no gradient may flow to the live variables.
    Variables, random states, buffers and plain attributes of the blocks are restored.

    Args:
        trainable: what trains.
        levels: of the stage.
        place: of the upper level of the pair, from 0.
        pair: two levels of the stage.
        batches: of one step; the first lower batch is used.

    Raises:
        BilevelError: a variable that is reached another way, that belongs to two levels, that a block keeps something
            of, that has hooks, or whose gradient is lost in a `backward` that a block calls by itself.
    """
    _check_sharing(trainable.blocks, levels)
    live = live_levels(trainable, levels[place : place + 2], pair)
    names = (*pair.theta_names, *pair.omega_names)
    check_hooks(names, (*pair.theta, *pair.omega), alone=False)
    with _restored(pair, trainable.blocks) as (values, snapshot):
        every = set(values)
        _run_spoilt(pair, live, batches, values, every, snapshot)
        if _finite(pair, batches, values, every):
            return
        snapshot.restore()
        if not _finite(pair, batches, values, set()):
            return  # energies that aren't finite anyway are an error of the first step
        for name, w in zip(names, values, strict=True):
            if not _finite(pair, batches, values, {w}):
                raise BilevelError("train.second-reference", name)
        for name, w in zip(names, values, strict=True):
            snapshot.restore()
            _run_spoilt(pair, live, batches, values, {w}, snapshot)
            if not _finite(pair, batches, values, set()):
                raise BilevelError("train.kept-of-weights", name)


def check_hooks(names: Sequence[str], variables: Tensors, alone: bool) -> None:
    """Refuse hooks on variables that nothing would call.

    Args:
        names: of the variables.
        variables: of one level or two.
        alone: whether their level is the only one. Then gradients are taken by the variables themselves; otherwise by
            others in their place, or piece by piece. Gradients are never accumulated.

    Raises:
        BilevelError: a variable has such a hook.
    """
    for name, w in zip(names, variables, strict=True):
        if w._post_accumulate_grad_hooks or (w._backward_hooks and not alone):
            raise BilevelError("train.parameter-hook", name)


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
def _restored(pair: StagePair, blocks: nn.ModuleDict) -> Iterator[tuple[Mapping[Tensor, Tensor], Snapshot]]:
    """Hand out copies of the variables and a snapshot of the blocks; afterwards put back all that a trial changes."""
    values = {w: w.detach().clone() for w in (*pair.theta, *pair.omega)}
    snapshot, device = Snapshot(blocks), pair.omega[0].device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield values, snapshot
        finally:
            snapshot.restore()
            _spoil(tuple(values), values, set())


def _run_spoilt(
    pair: StagePair,
    live: Sequence[SingleLevel],
    batches: Batches,
    values: Mapping[Tensor, Tensor],
    spoilt: set[Tensor],
    snapshot: Snapshot,
) -> None:
    """Run both energies in every way that training does, with NaN in some variables; leave only what blocks keep."""
    _spoil(tuple(values), values, spoilt)
    omega = tuple(w.detach().clone().requires_grad_() for w in pair.omega)
    both = ((pair.upper, batches.upper), (pair.lower, batches.lower[0]))
    for (energy, batch), level in zip(both, live, strict=True):
        with suppress(Exception):  # a block may refuse NaN, and then it keeps nothing of it
            energy(pair.couple(batch), omega, batch)
        with suppress(Exception):
            level.energy(batch)
    snapshot.restore_buffers()


def _finite(pair: StagePair, batches: Batches, values: Mapping[Tensor, Tensor], spoilt: set[Tensor]) -> bool:
    """Whether both energies and their gradients are finite at the values, with NaN in some of the live variables."""
    _spoil(pair.theta, values, set())  # `couple` reads the live theta
    _spoil(pair.omega, values, spoilt)
    points = []
    for energy, batch in ((pair.upper, batches.upper), (pair.lower, batches.lower[0])):
        coupled = pair.couple(batch)
        _refuse_reached(pair.omega_names, pull_back(coupled, coupled, pair.omega, keep=True))
        x = tuple(t.detach().clone().requires_grad_() for t in coupled)
        points.append((energy, x, batch))
    _spoil(pair.theta, values, spoilt)
    found = []
    for energy, x, batch in points:
        omega = tuple(values[w].detach().requires_grad_() for w in pair.omega)
        value = energy(x, omega, batch)
        gradient = differentiate(value, (*x, *omega, *values))
        _refuse_reached((*pair.theta_names, *pair.omega_names), gradient[len(x) + len(omega) :])
        inside = next((name for name, w in zip(pair.omega_names, omega, strict=True) if w.grad is not None), None)
        if inside is not None:
            raise BilevelError("train.backward-inside", inside)
        found += [value.detach(), *(g for g in gradient if g is not None)]
    return all(bool(t.isfinite().all()) for t in found)


def _refuse_reached(names: Sequence[str], gradients: Sequence[Tensor | None]) -> None:
    """Raise an error at the first live variable that has a gradient."""
    for name, gradient in zip(names, gradients, strict=True):
        if gradient is not None:
            raise BilevelError("train.second-reference", name)


@torch.no_grad()
def _spoil(variables: Tensors, values: Mapping[Tensor, Tensor], spoilt: set[Tensor]) -> None:
    for w in variables:
        w.copy_(torch.full_like(w, math.nan) if w in spoilt else values[w])
