"""Two levels of blocks of one chain, as the pair of energies that a solver sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from restore_hub.batch import Batch, Value
from restore_hub.bilevel import ALONE, Grouping, Reduction, Rows, everywhere, rows_by_parts, spread
from restore_hub.errors import BilevelError
from restore_hub.plan.chain import Chain
from restore_hub.plan.objectives import Objectives, Sums, combine, shares, widen
from restore_hub.ragged import Ragged
from restore_hub.spec import DATA, Level, weights_of
from restore_hub.train.problems.chain_level import data_wires, one_by_one
from restore_hub.train.problems.groups import find_batch_norm, gathered, leaves, normalises_by_batch, sizes_of
from restore_hub.train.problems.trainable import parameters_of


class Coupling(NamedTuple):
    """How a batch reaches the levels that its data allow.

    Attributes:
        blocks: what runs above the coupling, in order.
        tensors: the coupling tensors.
    """

    blocks: tuple[str, ...]
    tensors: tuple[str, ...]


class ChainPair:
    """Two levels of blocks of one chain (`restore_hub.contracts.LevelPair`).

    The coupling tensors are what the upper blocks produce before any lower block runs, part by part of the batch. They
    are float32 at least, since the cotangents of all levels are summed there. Upper blocks that come after a lower one
    are coupled through their parameters, which `couple` returns as they are.

    Each level runs the blocks that its objective needs. A batch may lack what the other level's objective reads, such
    as references: its coupling tensors are those of the levels that it has the data for.

    Blocks of a level run in training mode, so batch normalisation uses the statistics of the batch. Running statistics,
    which evaluation and export use, are updated by batches of the block's own level alone: those of upper blocks by
    `couple`, or by F_upper where they come after a lower block; those of lower blocks by F_lower, but only at the live
    omega: in the lower steps, and in the response after the last one. F_lower at any other omega, as in a finite
    difference, leaves them alone. Dropout draws a new mask in each call, except that both ends of a finite difference
    share one.
    """

    def __init__(
        self, chain: Chain, objectives: Objectives, upper: Level, lower: Level, reduction: Reduction = ALONE
    ) -> None:
        self._chain = chain
        self._objectives = objectives
        self._weights = (weights_of(upper.objective), weights_of(lower.objective))
        self.theta_names, self.theta = parameters_of(chain.blocks, upper.blocks)
        self.omega_names, self.omega = parameters_of(chain.blocks, lower.blocks)
        self._own = (upper.blocks, lower.blocks)
        self._before = _before(chain, upper.blocks, lower.blocks)
        self._needs = [chain.graph.needs(objectives.tensors(weights)) for weights in self._weights]
        self._after = self._later(upper.blocks)
        self._coupled = self._coupling_tensors(upper.blocks)
        self._others: Mapping[Tensor, Tensor] = {}
        self._couplings: dict[frozenset[int], Coupling] = {}
        late = [name for name in upper.blocks if name in self._after]
        self._late_names, self._late = parameters_of(chain.blocks, late)
        self.reduction = replace(reduction, shared=len(self._late))
        above = [chain.blocks[name] for name in self._before]
        self._apart = not any(normalises_by_batch(block) for block in above)  # what a sample gives is its own

    def couple(self, batch: Batch) -> tuple[Tensor, ...]:
        """Run the upper blocks; return their coupling tensors, then the parameters of upper blocks further down."""
        return self._couple(batch, self._own[0])

    def couple_lower(self, batch: Batch) -> tuple[Tensor, ...]:
        """Return what `couple` does, and leave the buffers of the upper blocks alone."""
        return self._couple(batch, ())

    def _couple(self, batch: Batch, updated: Sequence[str]) -> tuple[Tensor, ...]:
        coupling = self._coupling(batch)

        def hand_on(part: Mapping[str, Value]) -> tuple[Tensor, ...]:
            wires = self._chain.run(coupling.blocks, data_wires(part), self._others, updated)
            return tuple(widen(wires[name]) for name in coupling.tensors)

        parts = one_by_one(hand_on, [(part.tensors,) for part in batch.parts])
        return (*(tensor for part in parts for tensor in part), *self._late)

    def couple_both(self, lower: Batch, upper: Batch) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return x of a lower and an upper batch, from one pass over the samples of both if that gives the same.

        It does unless a block normalises by the statistics of the batch; otherwise, by the contract of `Network`, the
        output for a sample depends on that sample alone. One pass is faster for small batches, which leave kernels
        idle; large ones neither gain nor lose.
        """
        coupling = self._coupling(lower)
        read = {t for name in coupling.blocks for t in self._chain.graph.reads[name] if t.startswith(DATA)}
        one_part = len(lower.parts) == len(upper.parts) == 1 and self._coupling(upper) is coupling
        names = [name.removeprefix(DATA) for name in read]
        if not (names and one_part and self._apart) or not all(_alike(lower[n], upper[n]) for n in names):
            return self.couple_lower(lower), self.couple(upper)
        joined = Batch.cat([Batch({name: batch[name] for name in names}) for batch in (lower, upper)])
        wires = self._chain.run(coupling.blocks, data_wires(joined.tensors), self._others, self._own[0])
        x = [widen(wires[name]) for name in coupling.tensors]
        firsts, seconds = zip(*(torch.split(t, [len(lower), len(upper)]) for t in x), strict=True)
        return (*firsts, *self._late), (*seconds, *self._late)

    def upper(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Batch) -> Tensor:
        """Return F_upper(x, omega) on a batch."""
        return self._energies((0,), x, omega, batch)[0]

    def lower(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Batch) -> Tensor:
        """Return F_lower(x, omega) on a batch."""
        return self._energies((1,), x, omega, batch)[0]

    def both(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Batch) -> tuple[Tensor, Tensor]:
        """Return F_lower and F_upper from one pass through the blocks below the coupling, with one dropout mask.

        A batch in parts takes two passes. Otherwise what each part computes again for the gradient of one energy would
        be kept until that of the other.
        """
        if len(batch.parts) > 1:
            return self.lower(x, omega, batch), self.upper(x, omega, batch)
        lower, upper = self._energies((1, 0), x, omega, batch)
        return lower, upper

    def lower_groups(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Batch, groups: Grouping) -> Rows:
        """Return the gradients of F_lower by group of samples; a group reads its samples' slice of x.

        Every group runs the blocks below the coupling forward and backward once, on its samples alone, which is about
        one pass over the batch in all. All groups share the parameters of upper blocks further down.

        Raises:
            BilevelError: more groups than samples, a number that doesn't divide evenly among parts or processes, or a
                block that normalises by the statistics of the batch, which no group has.
        """
        self.check_groups()
        coupled = self._coupling(batch).tensors
        width, sizes = len(coupled), sizes_of(batch, groups, self.reduction.size)
        late = x[width * len(batch.parts) :]
        pieces: list[tuple[Any, ...]] = []
        for index, (part, counts) in enumerate(zip(batch.parts, sizes, strict=True)):
            handed = [leaves(t, counts) for t in x[index * width : (index + 1) * width]]
            samples = [piece.tensors for piece in part.split(counts)]
            pieces += zip(samples, *handed, strict=True)
        sums = self._sums((1,), coupled, omega, late, self._own[1])
        # All groups run before any backward pass, because the counts of the losses add up over the whole batch.
        each = one_by_one(sums, pieces) if len(batch.parts) > 1 else [sums(*piece) for piece in pieces]
        shared = shares(self._weights[1], [lower for (lower,) in each], self.reduction)
        rows = rows_by_parts(shared, omega, [piece[1:] for piece in pieces], late)
        return everywhere(gathered(rows, sizes, width), self.reduction)

    def renew(self, batch: Batch) -> None:
        """Do nothing: blocks keep their parameters."""

    def set_others(self, values: Mapping[str, Tensor]) -> None:
        """Use values for parameters of other levels, in place of the live ones."""
        self._others = {self._chain.blocks.get_parameter(name): value for name, value in values.items()}

    def check_groups(self) -> None:
        """Raise BilevelError if a block normalises by the statistics of the batch, which no group has."""
        found = find_batch_norm({name: self._chain.blocks[name] for name in self._after})
        if found:
            raise BilevelError("train.groups-batch-norm", f"block {found.block!r}", layer=found.layer)

    def _energies(
        self, levels: Sequence[int], x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Batch
    ) -> list[Tensor]:
        coupled = self._coupling(batch).tensors
        width = len(coupled)
        # Solvers hand over detached views, which share their memory with the live omega.
        live = all(w.data_ptr() == own.data_ptr() for w, own in zip(omega, self.omega, strict=True))
        updated = [name for level in levels if live or level == 0 for name in self._own[level]]
        both = spread(self.reduction, (*omega, *x[width * len(batch.parts) :]))
        sums = self._sums(levels, coupled, both[: len(omega)], both[len(omega) :], updated)
        parts = [(part.tensors, *x[i * width : (i + 1) * width]) for i, part in enumerate(batch.parts)]
        by_level = zip(*one_by_one(sums, parts), strict=True)
        return [combine(self._weights[i], found, self.reduction) for i, found in zip(levels, by_level, strict=True)]

    def _sums(
        self,
        levels: Sequence[int],
        coupled: Sequence[str],
        omega: tuple[Tensor, ...],
        late: tuple[Tensor, ...],
        updated: Sequence[str],
    ) -> Callable[..., tuple[Sums, ...]]:
        """Return a function of a part of a batch and its coupling tensors that returns the losses of each level."""
        given = dict(zip((*self.omega, *self._late), (*omega, *late), strict=True))
        replaced = {**self._others, **given}
        blocks = [name for name in self._after if any(name in self._needs[level].blocks for level in levels)]

        def sums(part: Mapping[str, Value], *handed: Tensor) -> tuple[Sums, ...]:
            wires = {**data_wires(part), **dict(zip(coupled, handed, strict=True))}
            wires = self._chain.run(blocks, wires, replaced, updated)
            return tuple(self._objectives.sums(self._weights[level], wires) for level in levels)

        return sums

    def _coupling(self, batch: Batch) -> Coupling:
        """Return what a batch needs above the coupling, for the levels that it has the data for."""
        there = {DATA + name for name in batch.parts[0].tensors}
        levels = frozenset(level for level, needs in enumerate(self._needs) if needs.data <= there)
        if levels not in self._couplings:
            needed = {name for level in levels for name in self._needs[level].blocks}
            tensors = self._read([name for name in self._after if name in needed], levels)
            self._couplings[levels] = Coupling(
                tuple(name for name in self._before if name in needed),
                tuple(tensor for tensor in self._coupled if tensor in tensors),
            )
        return self._couplings[levels]

    def _read(self, blocks: Iterable[str], levels: Iterable[int]) -> set[str]:
        """Return the tensors that blocks and the objectives of levels read."""
        read = {tensor for name in blocks for tensor in self._chain.graph.reads[name]}
        return read.union(*(self._objectives.tensors(self._weights[level]) for level in levels))

    def _later(self, upper: Sequence[str]) -> tuple[str, ...]:
        """Return the blocks below the coupling, and the frozen ones above it that feed them directly."""
        graph = self._chain.graph
        below = [name for name in graph.order if name not in self._before]
        read = self._read(below, (0, 1))
        frozen = {name for name in self._before if not graph.upstream(self._chain.outputs_of(name)) & set(upper)}
        again = graph.upstream(t for t in read if graph.producer.get(t) in frozen)
        return tuple(name for name in graph.order if name in below or name in again)

    def _coupling_tensors(self, upper: Sequence[str]) -> tuple[str, ...]:
        read = self._read(self._after, (0, 1))
        made = [tensor for name in self._before for tensor in self._chain.outputs_of(name)]
        coupled = tuple(t for t in made if t in read and self._chain.graph.upstream([t]) & set(upper))
        for tensor in coupled:
            port = self._chain.ports[tensor]
            if port.ragged or port.dtype != "float32":
                raise BilevelError("train.coupled-not-real", tensor, port=port.describe())
        return coupled


def _alike(one: Value, other: Value) -> bool:
    """Whether two values can be joined along the samples."""
    if isinstance(one, Ragged) or isinstance(other, Ragged):
        return True
    return one.shape[1:] == other.shape[1:]


def _before(chain: Chain, upper: Sequence[str], lower: Sequence[str]) -> tuple[str, ...]:
    """Return the upper blocks that no lower block feeds, and the blocks that feed them, in order."""
    early = {name for name in upper if not chain.graph.upstream(chain.outputs_of(name)) & set(lower)}
    feeding = chain.graph.upstream(tensor for name in early for tensor in chain.outputs_of(name))
    return tuple(name for name in chain.graph.order if name in feeding)
