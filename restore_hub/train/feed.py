"""Which batches a solver gets in each outer step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from restore_hub.batch import Batch
from restore_hub.contracts import Batches
from restore_hub.spec import Stage
from restore_hub.train.setup import Setup


class Feed:
    """The batches of a stage.

    A level with `accumulate: n` reads n batches of its split as the parts of one; a level with several splits reads
    parts of each.

    Attributes:
        seconds: time spent on making batches so far.
    """

    def __init__(self, setup: Setup, stage: Stage) -> None:
        self._device = setup.device
        self._levels = stage.levels
        self._share = stage.share_batch
        # The key names the level's place, not the solver: stages with another solver see the same batches.
        self._streams = [
            [setup.stream(split, f"level {place} of {len(stage.levels)}, {split}") for split in level.splits]
            for place, level in enumerate(stage.levels)
        ]
        self._parts = [level.accumulate for level in stage.levels]
        reads = [setup.trainable.reads(level) for level in stage.levels]
        self._reads = [frozenset().union(*reads)] * len(reads) if stage.share_batch else reads
        self.seconds = 0.0

    def batches(self, step: int) -> Batches:
        """Return the batches of an outer step, counted from 0; lower ones are made when they're first read."""
        if len(self._levels) == 1:
            return Batches(upper=None, lower=[self._batch(0, step)], steps=1)
        below = self.below(0, None, step)
        upper = below.lower[-1] if self._share else self._batch(0, step)
        return Batches(upper=upper, lower=below.lower, steps=below.steps)

    def below(self, place: int, batch: Batch | None, step: int) -> Batches:
        """Return the batches of a step of a level and of those that the next one takes for it.

        Args:
            place: of the level, from 0.
            batch: its own.
            step: the number of its steps before, over all outer steps.
        """
        level = self._levels[place + 1]
        count = level.steps if level.batches == "fresh" else 1
        lower = _LazyBatches(lambda index: self._batch(place + 1, step * count + index), count)
        return Batches(upper=batch, lower=lower, steps=level.steps)

    def _batch(self, place: int, index: int) -> Batch:
        begun = time.perf_counter()
        streams, parts, reads = self._streams[place], self._parts[place], self._reads[place]
        read = (stream.batch(index * parts + part) for stream in streams for part in range(parts))
        batch = Batch.of_parts((each.only(reads) if reads else each).to(self._device) for each in read)
        self.seconds += time.perf_counter() - begun
        return batch


class _LazyBatches(Sequence[Batch]):
    """The lower batches of an outer step, made when they're read; the newest and the last are kept."""

    def __init__(self, make: Callable[[int], Batch], count: int) -> None:
        self._make, self._count = make, count
        self._kept: dict[int, Batch] = {}

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        place = range(self._count)[index]
        if place not in self._kept:
            self._kept = {i: batch for i, batch in self._kept.items() if i == self._count - 1}
            self._kept[place] = self._make(place)
        return self._kept[place]
