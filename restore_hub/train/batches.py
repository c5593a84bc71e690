"""Batches as a function of (seed, stream, index) alone, whatever ran before."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from restore_hub.batch import Batch, Value, stacked
from restore_hub.errors import DataError
from restore_hub.plan.samples import Arrays, Samples


class Stream:
    """An endless sequence of batches of a split, shuffled anew in each epoch.

    The next readable sample in the order of the epoch takes the place of one that is left out. Which one that is
    depends on the files alone, not on what was tried before.

    Args:
        samples: the split.
        batch_size: samples in a batch; the last ones of an epoch share a batch with the first of the next.
        seed: of the run.
        key: name of the stream; streams with different keys are independent.
        rank, ranks: number of this process, and of all; each gets its share of every batch, in order.
    """

    def __init__(self, samples: Samples, batch_size: int, seed: int, key: str, rank: int = 0, ranks: int = 1) -> None:
        self._samples = samples
        self._batch_size = batch_size
        self._entropy = (seed, zlib.crc32(key.encode()))
        self._own = range(batch_size * rank // ranks, batch_size * (rank + 1) // ranks)

    def batch(self, index: int) -> Batch:
        """Return batch number `index` on the CPU, pictures as (batch_size, C, H, W), or this process's share of it.

        Raises:
            DataError: samples of different sizes in one batch, or none that can be read.
        """
        first = index * self._batch_size
        samples = [self._sample(first + position) for position in self._own]
        return Batch({name: self._join(name, [sample[name] for sample in samples]) for name in samples[0]})

    def _join(self, name: str, arrays: Sequence[NDArray[Any]]) -> Value:
        port = self._samples.dataset.ports[name]
        if not port.ragged and len({array.shape for array in arrays}) > 1:
            shapes = ", ".join(str(array.shape) for array in arrays)
            raise DataError("train.sizes-differ", f"data.{self._samples.name}", tensor=name, shapes=shapes)
        return stacked([torch.from_numpy(array) for array in arrays], port)

    def _sample(self, position: int) -> Arrays:
        epoch, place = divmod(position, len(self._samples))
        order = np.random.default_rng((*self._entropy, 0, epoch)).permutation(len(self._samples))
        for index in np.roll(order, -place):
            # A new one for each try: one that failed may have drawn from it.
            rng = np.random.default_rng((*self._entropy, 1, position))
            sample = self._samples.read(int(index), rng)
            if sample is not None:
                return sample
        raise self._samples.none_readable()
