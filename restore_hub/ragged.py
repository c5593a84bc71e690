"""Values of which each sample has its own number, such as the boxes of a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Ragged:
    """The values of several samples, one after another; a sample may have none.

        boxes = Ragged.of([torch.rand(3, 4), torch.rand(0, 4)])
        len(boxes), boxes.lengths, boxes[0].shape      # 2, (3, 0), (3, 4)

    Attributes:
        values: (sum of lengths, ...), all samples' values joined along the first axis.
        lengths: how many of them each sample has.
    """

    values: Tensor
    lengths: tuple[int, ...]

    @staticmethod
    def of(samples: Sequence[Tensor]) -> Ragged:
        """Return the values of samples, one tensor each, as one."""
        return Ragged(torch.cat(list(samples)), tuple(len(sample) for sample in samples))

    @staticmethod
    def cat(several: Sequence[Ragged]) -> Ragged:
        """Return the samples of several batches as one."""
        return Ragged(torch.cat([each.values for each in several]), tuple(n for each in several for n in each.lengths))

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.lengths)

    def __iter__(self) -> Iterator[Tensor]:
        """Return each sample's values."""
        return iter(torch.split(self.values, list(self.lengths)))

    def __getitem__(self, index: int) -> Tensor:
        """Return the values of a sample."""
        return list(self)[index]

    @property
    def owners(self) -> Tensor:
        """The sample that each value belongs to, int64 of shape (sum of lengths,)."""
        counts = torch.tensor(self.lengths, dtype=torch.int64)
        return torch.repeat_interleave(torch.arange(len(self)), counts).to(self.values.device)

    @property
    def device(self) -> torch.device:
        """The device of the values."""
        return self.values.device

    def split(self, sizes: Sequence[int]) -> list[Ragged]:
        """Return consecutive pieces with so many samples each; their values are views."""
        ends = [0]
        for size in sizes:
            ends.append(ends[-1] + size)
        pieces = [self.lengths[start:end] for start, end in pairwise(ends)]
        values = torch.split(self.values, [sum(piece) for piece in pieces])
        return [Ragged(value, piece) for value, piece in zip(values, pieces, strict=True)]

    def to(self, place: str | torch.device | torch.dtype) -> Ragged:
        """Return the values on a device or as another type."""
        return Ragged(self.values.to(place), self.lengths)
