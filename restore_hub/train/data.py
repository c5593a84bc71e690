"""Batches as a pure function of (seed, stream, index): the same on every run, whatever ran before."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor

from restore_hub.contracts import Dataset
from restore_hub.errors import DataError


class Stream:
    """An endless sequence of batches of a dataset, shuffled anew in each epoch.

    Args:
        dataset: where the samples come from.
        batch_size: samples a batch; the last ones of an epoch are joined by the first of the next.
        seed: of the run.
        key: name of the stream; streams with different keys are independent.
    """

    def __init__(self, dataset: Dataset, batch_size: int, seed: int, key: str) -> None:
        if len(dataset) == 0:
            raise DataError(f"the data of {key!r} has no samples")
        self._dataset = dataset
        self._batch_size = batch_size
        self._entropy = (seed, zlib.crc32(key.encode()))

    def batch(self, index: int, device: str | torch.device = "cpu") -> dict[str, Tensor]:
        """Return batch number `index`, tensors (batch_size, C, H, W).

        Raises:
            DataError: samples of different sizes in one batch; set `crop`.
        """
        first = index * self._batch_size
        samples = [self._sample(position) for position in range(first, first + self._batch_size)]
        batch = {}
        for name in samples[0]:
            arrays = [sample[name] for sample in samples]
            if len({array.shape for array in arrays}) > 1:
                shapes = ", ".join(str(array.shape) for array in arrays)
                raise DataError(f"samples of one batch differ in size ({name}: {shapes}); set `crop` or batch_size: 1")
            batch[name] = torch.from_numpy(np.stack(arrays)).to(device)
        return batch

    def _sample(self, position: int) -> dict[str, np.ndarray]:
        epoch, place = divmod(position, len(self._dataset))
        order = np.random.default_rng((*self._entropy, 0, epoch)).permutation(len(self._dataset))
        rng = np.random.default_rng((*self._entropy, 1, position))
        sample = self._dataset.sample(int(order[place]), rng)
        return {name: array for name, array in sample.items() if not name.startswith("_")}
