"""The samples of a split, without those whose files cannot be read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

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
