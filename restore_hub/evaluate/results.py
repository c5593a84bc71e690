"""A folder of results, made by any program, as what is measured; and the names of samples."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.contracts import Dataset, Port
from restore_hub.errors import DataError, UnreadableFileError
from restore_hub.evaluate.pictures import pictures_in, read_planes
from restore_hub.evaluate.predictor import Arrays

RESULT = "result"


class WithResults:
    """A data set with the results of its samples as a further tensor, `data.result`.

    A result has the name of its sample, with any suffix; where a name occurs once in the folder, its sub-folder doesn't
    matter.

    Args:
        dataset: the samples.
        folder: of the results.
        reference: the tensor whose size a result has; empty for any size.

    Raises:
        DataError: no folder, no pictures, or a sample without a result; on use a damaged result, or another size.
    """

    def __init__(self, dataset: Dataset, folder: Path, reference: str) -> None:
        self._dataset, self._reference = dataset, reference
        self.ports: Mapping[str, Port] = {**dataset.ports, RESULT: Port(3)}
        found, names = pictures_in(folder), names_of(dataset)
        by_stem = defaultdict(list)
        for file in found.values():
            by_stem[file.stem].append(file)
        alone = {stem: files[0] for stem, files in by_stem.items() if len(files) == 1}
        results = [found.get(name) or alone.get(name.rpartition("/")[2]) for name in names]
        missing = [name for name, file in zip(names, results, strict=True) if file is None]
        if missing:
            raise DataError("evaluate.no-result", folder, name=missing[0], count=len(missing), all=len(names))
        self._results = [file for file in results if file is not None]

    def __len__(self) -> int:
        return len(self._dataset)

    def files(self, index: int) -> Sequence[Path]:
        """Return the files of the sample itself."""
        return self._dataset.files(index)

    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, NDArray[Any]]:
        """Return a sample and its result."""
        file, sample = self._results[index], self._dataset.sample(index, rng)
        try:
            result = read_planes(file)
        except UnreadableFileError as error:  # the sample itself is sound, so it must not be left out
            raise error.at("", DataError) from error
        if self._reference and result.shape != sample[self._reference].shape:
            sizes = ["x".join(map(str, array.shape[:0:-1])) for array in (result, sample[self._reference])]
            raise DataError("evaluate.other-size", file, got=sizes[0], reference=sizes[1])
        return {**sample, RESULT: result}


class Given:
    """What is in the data already (`predictor.Predictor`)."""

    ports: Mapping[str, Port] = {}
    reads: Sequence[str] = ()

    def __call__(self, sample: Arrays, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
        """Return nothing."""
        del sample, wanted
        return {}


def names_of(dataset: Dataset) -> list[str]:
    """Return a name for each sample: its first file in the folder that all share, without suffix.

    Where that doesn't tell samples apart, the index comes first; without files it's all there is.
    """
    firsts = [next(iter(dataset.files(index)), None) for index in range(len(dataset))]
    files = [Path(os.path.abspath(file)) for file in firsts if file is not None]
    if len(files) < len(firsts):
        return [str(index) for index in range(len(firsts))]
    top = os.path.commonpath([file.parent for file in files])
    names = [file.relative_to(top).with_suffix("").as_posix() for file in files]
    return names if len(set(names)) == len(names) else [f"{index}-{name}" for index, name in enumerate(names)]
