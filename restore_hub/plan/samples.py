"""The samples of a split, without those whose files can't be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.contracts import Dataset, Port
from restore_hub.errors import DataError, UnreadableFileError, counted

Arrays = dict[str, NDArray[Any]]


class Samples:
    """The samples of one split; those whose files can't be read are left out, or are an error.

    Args:
        dataset: where they come from, with one sample or more.
        name: of the split.
        strict: whether a file that can't be read is an error.
        takes: the ports of blocks that read a number, by its name in the data.

    Attributes:
        left_out: why each sample left out so far was, by index.
        notify: called once for each sample left out, with its index and the reason.
    """

    def __init__(
        self, dataset: Dataset, name: str, strict: bool = False, takes: Mapping[str, Sequence[Port]] | None = None
    ) -> None:
        self.dataset = dataset
        self.name = name
        self.left_out: dict[int, str] = {}
        self._strict = strict
        self._takes = takes or {}
        self.notify: Callable[[int, str], None] | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int, rng: np.random.Generator | None) -> Arrays | None:
        """Return the arrays of a sample without the hidden ones, or `None` when it is left out.

        Raises:
            UnreadableFileError: a file of a strict split can't be read.
            DataError: an array that the dataset's ports don't describe, or a number outside the range of a port.
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
        arrays = {name: np.asarray(array) for name, array in sample.items() if not name.startswith("_")}
        for name, array in arrays.items():
            self._check(index, name, array)
        lacking = [name for name in self.dataset.ports if name not in arrays]
        if lacking:
            raise DataError("data.sample-lacks", self._where(index), sample=index, tensor=lacking[0])
        return arrays

    def _check(self, index: int, name: str, array: NDArray[Any]) -> None:
        port = self.dataset.ports.get(name)
        if port is None:
            raise DataError("data.sample-undeclared", self._where(index), sample=index, tensor=name)
        wrong = port.wrong(array.shape, str(array.dtype))
        if wrong:
            facts: dict[str, Any] = {"sample": index, "tensor": name, "got": wrong[0], "declared": wrong[1]}
            raise DataError("data.sample-misfit", self._where(index), **facts)
        for reader in () if port.axes else (port, *self._takes.get(name, ())):
            if not reader.admits(array.item()):
                facts = {"sample": index, "tensor": name, "got": array.item(), "range": reader.describe()}
                raise DataError("data.number-outside", self._where(index), **facts)

    def _where(self, index: int) -> str:
        return ", ".join(map(str, self.dataset.files(index))) or f"data.{self.name}"

    def leave_out(self, index: int, reason: str) -> None:
        """Note a sample that can't be read, and notify of it the first time."""
        if index not in self.left_out:
            self.left_out[index] = reason
            if self.notify is not None:
                self.notify(index, reason)

    def summary(self) -> str:
        """Return how many samples are left out, with the first reason, in one line."""
        more = f" (and {len(self.left_out) - 1} more)" if len(self.left_out) > 1 else ""
        first = next(iter(self.left_out.values()))
        return f"left out {len(self.left_out)} of {counted(len(self), 'sample')} of {self.name!r}: {first}{more}"

    def none_readable(self) -> DataError:
        """Return the error for a split with every sample left out."""
        first = next(iter(self.left_out.values()))
        return DataError("data.none-readable", f"data.{self.name}", count=len(self), first=first)
