"""What is measured: something that makes named arrays of a sample."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

from restore_hub.contracts import Port

Arrays: TypeAlias = Mapping[str, NDArray[Any]]  # of one sample, without the batch axis


class Predictor(Protocol):
    """A chain of blocks, an exported file, or anything else that restores samples."""

    @property
    def ports(self) -> Mapping[str, Port]:
        """The port of each tensor that it makes."""
        ...

    @property
    def reads(self) -> Sequence[str]:
        """The tensors of the data that it reads, `data.<name>`."""
        ...

    def __call__(self, sample: Arrays, wanted: Collection[str]) -> Arrays:
        """Return some of the tensors that it makes of a sample.

        Args:
            sample: the data by tensor, `data.<name>`, with the axes of the dataset's ports.
            wanted: names of tensors.
        """
        ...
