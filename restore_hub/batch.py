"""The samples that an energy reads at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from restore_hub.ragged import Ragged

if TYPE_CHECKING:
    from restore_hub.port import Port

Value: TypeAlias = Tensor | Ragged


class Batch:
    """Values by name: tensors with the samples along the first axis, or `Ragged` ones.

    A batch can be made of parts (`accumulate` in a spec), which then run one after another to save memory. Pictures
    have one size within a part, but parts may differ.

    Args:
        parts: the values of each part, one part or more, all with the same names.
    """

    def __init__(self, *parts: Mapping[str, Value]) -> None:
        self._parts = parts

    @property
    def tensors(self) -> Mapping[str, Value]:
        """The values of all samples, copied together where there are several parts."""
        return self._parts[0] if len(self._parts) == 1 else Batch.cat(self.parts).tensors

    @property
    def parts(self) -> tuple[Batch, ...]:
        """The parts, each a batch of its own; the batch itself where it has only one."""
        return (self,) if len(self._parts) == 1 else tuple(Batch(part) for part in self._parts)

    def __len__(self) -> int:
        """Return the number of samples."""
        return sum(len(next(iter(part.values()))) for part in self._parts)

    def __getitem__(self, name: str) -> Value:
        """Return the values of all samples."""
        return self.tensors[name]

    def split(self, sizes: Sequence[int]) -> list[Batch]:
        """Return consecutive pieces with so many samples each; their tensors are views."""
        pieces = zip(*(value.split(list(sizes)) for value in self.tensors.values()), strict=True)
        return [Batch(dict(zip(self.tensors, piece, strict=True))) for piece in pieces]

    def only(self, names: Collection[str]) -> Batch:
        """Return the batch without the values of other names."""
        return Batch(*({name: value for name, value in part.items() if name in names} for part in self._parts))

    @staticmethod
    def cat(batches: Sequence[Batch]) -> Batch:
        """Return the samples of several batches as a batch of one part."""
        return Batch({name: joined([batch[name] for batch in batches]) for name in batches[0].tensors})

    @staticmethod
    def of_parts(batches: Iterable[Batch]) -> Batch:
        """Return several batches as the parts of one; nothing is copied."""
        return Batch(*(values for batch in batches for values in batch._parts))

    def to(self, place: str | torch.device | torch.dtype) -> Batch:
        """Return the batch on a device, or its floating-point values as another type."""
        return Batch(*({name: _to(value, place) for name, value in part.items()} for part in self._parts))


def wrong(value: object, port: Port) -> tuple[str, str] | None:
    """Return what a batch's value is and what a port says it is, in words, where they differ."""
    if not isinstance(value, Ragged if port.ragged else Tensor):
        return type(value).__name__, "Ragged" if port.ragged else "Tensor"
    content = value.values if isinstance(value, Ragged) else value[0] if value.ndim else value
    return port.wrong(content.shape, str(content.dtype).removeprefix("torch."))


def stacked(samples: Sequence[Tensor], port: Port) -> Value:
    """Return the samples of a port as one value."""
    return Ragged.of(samples) if port.ragged else torch.stack(list(samples))


def joined(values: Sequence[Value]) -> Value:
    """Return the samples of several values of one name as one."""
    ragged = [value for value in values if isinstance(value, Ragged)]
    return Ragged.cat(ragged) if ragged else torch.cat([value for value in values if isinstance(value, Tensor)])


def _to(value: Value, place: str | torch.device | torch.dtype) -> Value:
    content = value.values if isinstance(value, Ragged) else value
    keep = isinstance(place, torch.dtype) and not content.is_floating_point()
    return value if keep else value.to(place)
