"""The samples that an energy reads at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor


class Batch:
    """Tensors by name, with the samples along the first axis.

    A batch can be made of parts (`accumulate` in a spec), which then run one after another to save memory. Pictures
    have one size within a part, but parts may differ.

    Args:
        parts: the tensors of each part, one part or more, all with the same names.
    """

    def __init__(self, *parts: Mapping[str, Tensor]) -> None:
        self._parts = parts

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The tensors of all samples, copied together where there are several parts."""
        return self._parts[0] if len(self._parts) == 1 else Batch.cat(self.parts).tensors

    @property
    def parts(self) -> tuple[Batch, ...]:
        """The parts, each a batch of its own; the batch itself where it has only one."""
        return (self,) if len(self._parts) == 1 else tuple(Batch(part) for part in self._parts)

    def __len__(self) -> int:
        """Return the number of samples."""
        return sum(len(next(iter(part.values()))) for part in self._parts)

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor of all samples."""
        return self.tensors[name]

    def split(self, sizes: Sequence[int]) -> list[Batch]:
        """Return consecutive pieces with so many samples each; their tensors are views."""
        pieces = zip(*(torch.split(tensor, list(sizes)) for tensor in self.tensors.values()), strict=True)
        return [Batch(dict(zip(self.tensors, piece, strict=True))) for piece in pieces]

    @staticmethod
    def cat(batches: Sequence[Batch]) -> Batch:
        """Return the samples of several batches as a batch of one part."""
        return Batch({name: torch.cat([batch[name] for batch in batches]) for name in batches[0].tensors})

    @staticmethod
    def of_parts(batches: Iterable[Batch]) -> Batch:
        """Return several batches as the parts of one; nothing is copied."""
        return Batch(*(tensors for batch in batches for tensors in batch._parts))

    def to(self, place: str | torch.device | torch.dtype) -> Batch:
        """Return the batch on a device, or its floating-point tensors as another type."""
        return Batch(*({name: _to(tensor, place) for name, tensor in part.items()} for part in self._parts))


def _to(tensor: Tensor, place: str | torch.device | torch.dtype) -> Tensor:
    keep = isinstance(place, torch.dtype) and not tensor.is_floating_point()
    return tensor if keep else tensor.to(place)
