"""A stage of a spec as the problem that a solver advances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from restore_hub.bilevel import ALONE, Grouping, Reduction, Rows, everywhere, rows_by_parts, spread
from restore_hub.plan.chain import Chain, Wires
from restore_hub.plan.objectives import Objectives, Sums, combine, shares, widen
from restore_hub.spec import DATA, Level, Stage, weights_of
from restore_hub.train.problems.groups import check_statistics, cut, gathered, leaves, normalises_by_batch, sizes_of

Batch = Sequence[Mapping[str, Tensor]]  # the parts of a batch, each with tensors (N, C, H, W) by name


class ChainLevel:
    """One level of blocks on one objective: what `joint` steps (`restore_hub.contracts.SingleLevel`)."""

    def __init__(self, chain: Chain, objectives: Objectives, level: Level, reduction: Reduction = ALONE) -> None:
        self._chain = chain
        self.reduction = reduction
        self._objectives = objectives
        self._weights = weights_of(level.objective)
        self.names, self.variables = _parameters(chain, level.blocks)

    def energy(self, batch: Batch) -> Tensor:
        """Return the objective of the whole chain on a batch."""

        def sums(part: Mapping[str, Tensor]) -> Sums:
            return self._objectives.sums(self._weights, self._chain(_data(part)))

        return combine(self._weights, _one_by_one(sums, [(part,) for part in batch]), self.reduction)


class ChainPair:
    """Two levels of blocks of one chain (`restore_hub.contracts.LevelPair`).

    The coupling tensors are what the upper blocks hand on before any lower block runs, part by part of the batch, in
    float32 at least, since all levels' cotangents are summed there.
    Upper blocks that come after a lower one are coupled through their parameters, which `couple` returns as they are.

    Blocks of a level run in training mode. Batch normalisation uses the statistics of the batch. Running statistics,
    which evaluation and export use, are those of `couple` for the upper blocks, and for the others of F_lower at the
    live omega (in the lower steps, and in the response after the last of them): F_upper and F_lower at any other
    omega, as in a finite difference, leave them alone. Dropout draws anew in each call, but for the two ends of a
    finite difference.
    """

    def __init__(
        self, chain: Chain, objectives: Objectives, upper: Level, lower: Level, reduction: Reduction = ALONE
    ) -> None:
        self._chain = chain
        self._objectives = objectives
        self._weights = (weights_of(upper.objective), weights_of(lower.objective))
        self.theta_names, self.theta = _parameters(chain, upper.blocks)
        self.omega_names, self.omega = _parameters(chain, lower.blocks)
        self._before = _before(chain, upper.blocks, lower.blocks)
        self._after = self._later(upper.blocks)
        self._coupled = self._coupling_tensors(upper.blocks)
        late = [name for name in upper.blocks if name in self._after]
        self._late_names, self._late = _parameters(chain, late)
        self.reduction = replace(reduction, shared=len(self._late))
        above = [chain.blocks[name] for name in self._before]
        self._apart = not any(normalises_by_batch(block) for block in above)  # what a sample gives is its own

    def couple(self, batch: Batch) -> tuple[Tensor, ...]:
        """Run the upper blocks; return what they hand on, then the parameters of upper blocks further down."""

        def hand_on(part: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
            wires = self._chain.run(self._before, _data(part))
            return tuple(widen(wires[name]) for name in self._coupled)

        parts = _one_by_one(hand_on, [(part,) for part in batch])
        return (*(tensor for part in parts for tensor in part), *self._late)

    def couple_both(self, first: Batch, second: Batch) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return x of two batches: from one pass over the samples of both where that gives the same and may be faster.

        It gives the same but where a block normalises by the statistics of the batch; that what a block makes of a
        sample depends on it alone else is the contract of `Network`. Small batches gain, which leave kernels idle;
        large ones neither gain nor lose.
        """
        read = {t for name in self._before for t in self._chain.inputs_of(name).values() if t.startswith(DATA)}
        pairs = [tuple(batch[0][t.removeprefix(DATA)] for batch in (first, second)) for t in read]
        one_part = len(first) == len(second) == 1
        if not (pairs and one_part and self._apart) or any(a.shape[1:] != b.shape[1:] for a, b in pairs):
            return self.couple(first), self.couple(second)
        joined = {t.removeprefix(DATA): torch.cat(pair) for t, pair in zip(read, pairs, strict=True)}
        x = self.couple([joined])[: len(self._coupled)]
        counts = [len(tensor) for tensor in pairs[0]]
        firsts, seconds = zip(*(torch.split(t, counts) for t in x), strict=True)
        return (*firsts, *self._late), (*seconds, *self._late)

    def upper(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Batch) -> Tensor:
        """Return F_upper(x, omega) on a batch."""
        return self._energies((0,), x, omega, batch)[0]

    def lower(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Batch) -> Tensor:
        """Return F_lower(x, omega) on a batch."""
        return self._energies((1,), x, omega, batch)[0]

    def both(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Batch) -> tuple[Tensor, Tensor]:
        """Return F_lower and F_upper from one pass through the blocks below the coupling; dropout draws once.

        A batch in parts takes two passes: what is computed again for the gradient of one energy would be kept, of every
        part, until that of the other.
        """
        if len(batch) > 1:
            return self.lower(x, omega, batch), self.upper(x, omega, batch)
        lower, upper = self._energies((1, 0), x, omega, batch)
        return lower, upper

    def lower_groups(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Batch, groups: Grouping) -> Rows:
        """Return the gradients of F_lower by group of samples; a group reads its samples' slice of x.

        Every group runs the blocks below the coupling forward and backward once, on its samples alone: about one pass
        over the batch in all. Parameters of upper blocks further down are shared by all groups.

        Raises:
            BilevelError: more groups than samples, a number that the parts of the batch do not share evenly, or a
                block that normalises by the statistics of the batch, which no group has.
        """
        self.check_groups()
        width, sizes = len(self._coupled), sizes_of(batch, groups, self.reduction.size)
        late = x[width * len(batch) :]
        parts: list[tuple[Any, ...]] = []
        for index, (part, counts) in enumerate(zip(batch, sizes, strict=True)):
            handed = [leaves(t, counts) for t in x[index * width : (index + 1) * width]]
            parts += zip(cut(part, counts), *handed, strict=True)
        sums = self._sums((1,), omega, late, keep_buffers=False)
        # All groups before any backward pass, since the counts of the losses add up over the whole batch.
        each = _one_by_one(sums, parts) if len(batch) > 1 else [sums(*part) for part in parts]
        found = [of_lower for (of_lower,) in each]
        rows = rows_by_parts(shares(self._weights[1], found, self.reduction), omega, [part[1:] for part in parts], late)
        return everywhere(gathered(rows, sizes, width), self.reduction)

    def check_groups(self) -> None:
        """Raise BilevelError where a block normalises by the statistics of the batch, which no group has."""
        fails = "so that the lower energy is no sum over groups of samples; leave `groups` out"
        check_statistics({name: self._chain.blocks[name] for name in self._after}, fails)

    def _energies(
        self, levels: Sequence[int], x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Batch
    ) -> list[Tensor]:
        width = len(self._coupled)
        # Solvers hand over detached views, which share their memory with the live omega.
        live = 1 in levels and all(w.data_ptr() == own.data_ptr() for w, own in zip(omega, self.omega, strict=True))
        both = spread(self.reduction, (*omega, *x[width * len(batch) :]))
        sums = self._sums(levels, both[: len(omega)], both[len(omega) :], keep_buffers=not live)
        parts = [(part, *x[index * width : (index + 1) * width]) for index, part in enumerate(batch)]
        found = zip(*_one_by_one(sums, parts), strict=True)  # by level
        return [combine(self._weights[i], of_it, self.reduction) for i, of_it in zip(levels, found, strict=True)]

    def _sums(
        self, levels: Sequence[int], omega: tuple[Tensor, ...], late: tuple[Tensor, ...], keep_buffers: bool
    ) -> Callable[..., tuple[Sums, ...]]:
        """Return what gives the losses of each level on a part of a batch and the coupling tensors of that part."""
        replaced: dict[str, dict[str, Tensor]] = {}
        names, values = (*self.omega_names, *self._late_names), (*omega, *late)
        for name, value in zip(names, values, strict=True):
            block, _, parameter = name.partition(".")
            replaced.setdefault(block, {})[parameter] = value

        def sums(part: Mapping[str, Tensor], *handed: Tensor) -> tuple[Sums, ...]:
            wires = {**_data(part), **dict(zip(self._coupled, handed, strict=True))}
            wires = self._chain.run(self._after, wires, replaced, keep_buffers=keep_buffers)
            return tuple(self._objectives.sums(self._weights[level], wires) for level in levels)

        return sums

    def _later(self, upper: Sequence[str]) -> tuple[str, ...]:
        """Return the blocks below the coupling, with frozen ones above it that hand them something themselves."""
        graph = self._chain.graph
        below = [name for name in graph.order if name not in self._before]
        read = {t for name in below for t in self._chain.inputs_of(name).values()}
        for weights in self._weights:
            read |= self._objectives.tensors(weights)
        frozen = {name for name in self._before if not graph.upstream(self._chain.outputs_of(name)) & set(upper)}
        again = graph.upstream(t for t in read if graph.producer.get(t) in frozen)
        return tuple(name for name in graph.order if name in below or name in again)

    def _coupling_tensors(self, upper: Sequence[str]) -> tuple[str, ...]:
        read = {t for name in self._after for t in self._chain.inputs_of(name).values()}
        for weights in self._weights:
            read |= self._objectives.tensors(weights)
        made = [tensor for name in self._before for tensor in self._chain.outputs_of(name)]
        return tuple(t for t in made if t in read and self._chain.graph.upstream([t]) & set(upper))


def _one_by_one(function: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Call a function on each part of a batch.

    Several parts are kept in memory one at a time: each is computed again, with the same random numbers, when its
    gradient is taken. The sums over all parts, which a ratio needs, are known only after all of them ran.
    """
    if len(parts) == 1:
        return [function(*parts[0])]
    # Early stop would end the second run by an exception, which a plugin may catch.
    return [checkpoint(function, *part, use_reentrant=False, early_stop=False) for part in parts]


def pair_of_chain(
    chain: Chain, objectives: Objectives, stage: Stage, reduction: Reduction = ALONE
) -> ChainLevel | ChainPair:
    """Return the problem of a stage; blocks of no level are frozen for it and run in evaluation mode."""
    active = {name for level in stage.levels for name in level.blocks}
    for name, block in chain.blocks.items():
        block.train(name in active)
    if len(stage.levels) == 2:
        upper, lower = stage.levels
        return ChainPair(chain, objectives, upper, lower, reduction)
    return ChainLevel(chain, objectives, stage.levels[0], reduction)


def _before(chain: Chain, upper: Sequence[str], lower: Sequence[str]) -> tuple[str, ...]:
    """Return the upper blocks that no lower block feeds, and what feeds them, in order."""
    early = {name for name in upper if not chain.graph.upstream(chain.outputs_of(name)) & set(lower)}
    feeding = chain.graph.upstream(tensor for name in early for tensor in chain.outputs_of(name))
    return tuple(name for name in chain.graph.order if name in feeding)


def _parameters(chain: Chain, blocks: Sequence[str]) -> tuple[tuple[str, ...], tuple[Tensor, ...]]:
    named = [(f"{name}.{key}", p) for name in blocks for key, p in chain.blocks[name].named_parameters()]
    named = [(key, p) for key, p in named if p.requires_grad]  # what a network froze itself stays frozen
    return tuple(name for name, _ in named), tuple(parameter for _, parameter in named)


def _data(batch: Mapping[str, Tensor]) -> Wires:
    return {DATA + name: tensor for name, tensor in batch.items()}
