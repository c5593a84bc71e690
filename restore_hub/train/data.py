"""Batches as a pure function of (seed, stream, index): the same on every run, whatever ran before."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore_hub.contracts import Dataset
from restore_hub.errors import DataError, UnreadableFileError

Arrays = dict[str, NDArray[np.float32]]


class Samples:
    """The samples of one split; those whose files cannot be read are left out, or are an error.

    Args:
        dataset: where they come from, with one sample or more.
        name: of the split.
        strict: whether a file that cannot be read is an error.

    Attributes:
        left_out: why each sample met so far was left out, by index.
        tell: called once for each sample left out, with its index and the reason.
    """

    def __init__(self, dataset: Dataset, name: str, strict: bool = False) -> None:
        self.dataset = dataset
        self.name = name
        self.left_out: dict[int, str] = {}
        self._strict = strict
        self.tell: Callable[[int, str], None] | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int, rng: np.random.Generator | None) -> Arrays | None:
        """Return the arrays of a sample, the hidden ones left off, or `None` when it is left out.

        Raises:
            UnreadableFileError: a file that cannot be read, of a strict split.
        """
        if index in self.left_out:
            return None
        try:
            sample = self.dataset.sample(index, rng)
        except UnreadableFileError as error:
            if self._strict:
                raise
            self.leave_out(index, str(error))
            return None
        return {name: array for name, array in sample.items() if not name.startswith("_")}

    def leave_out(self, index: int, reason: str) -> None:
        """Note a sample that cannot be read, and tell it where it is new."""
        if index not in self.left_out:
            self.left_out[index] = reason
            if self.tell is not None:
                self.tell(index, reason)

    def summary(self) -> str:
        """Return one line that says how many samples are left out, with the first reason."""
        more = f" (and {len(self.left_out) - 1} more)" if len(self.left_out) > 1 else ""
        first = next(iter(self.left_out.values()))
        return f"left out {len(self.left_out)} of {len(self)} samples of {self.name!r}: {first}{more}"

    def none_readable(self) -> DataError:
        """Return the error for a split of which every sample is left out."""
        first = next(iter(self.left_out.values()))
        return DataError(f"none of the {len(self)} samples of {self.name!r} can be read; the first: {first}")


class Stream:
    """An endless sequence of batches of a split, shuffled anew in each epoch.

    A sample that is left out is replaced by the next one in the order of its epoch that can be read. Which one
    that is depends on the files alone, not on what was tried before.

    Args:
        samples: the split.
        batch_size: samples a batch; the last ones of an epoch are joined by the first of the next.
        seed: of the run.
        key: name of the stream; streams with different keys are independent.
        rank, ranks: which of so many processes this is; each gets its part of every batch, in order.
    """

    def __init__(self, samples: Samples, batch_size: int, seed: int, key: str, rank: int = 0, ranks: int = 1) -> None:
        self._samples = samples
        self._batch_size = batch_size
        self._entropy = (seed, zlib.crc32(key.encode()))
        self._own = range(batch_size * rank // ranks, batch_size * (rank + 1) // ranks)

    def batch(self, index: int, device: str | torch.device = "cpu") -> dict[str, Tensor]:
        """Return batch number `index`, tensors (batch_size, C, H, W), or this process's part of it.

        Raises:
            DataError: samples of different sizes in one batch (set `crop`), or none that can be read.
        """
        first = index * self._batch_size
        samples = [self._sample(first + position) for position in self._own]
        batch = {}
        for name in samples[0]:
            arrays = [sample[name] for sample in samples]
            if len({array.shape for array in arrays}) > 1:
                shapes = ", ".join(str(array.shape) for array in arrays)
                raise DataError(f"samples of one batch differ in size ({name}: {shapes}); set `crop` or batch_size: 1")
            batch[name] = torch.from_numpy(np.stack(arrays)).to(device)
        return batch

    def _sample(self, position: int) -> Arrays:
        epoch, place = divmod(position, len(self._samples))
        order = np.random.default_rng((*self._entropy, 0, epoch)).permutation(len(self._samples))
        for index in np.roll(order, -place):
            # Made anew for each try: one that failed may have drawn from it.
            rng = np.random.default_rng((*self._entropy, 1, position))
            sample = self._samples.read(int(index), rng)
            if sample is not None:
                return sample
        raise self._samples.none_readable()
