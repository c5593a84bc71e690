"""Splits that share no file: what trains must not measure, and the two levels must not share data."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

from restore_hub.contracts import Dataset
from restore_hub.errors import DataError


def check_splits_apart(datasets: Mapping[str, Dataset]) -> None:
    """Refuse splits that share a file, under whatever name: links to one file are the same file.

    Raises:
        DataError: naming the file and both splits.
    """
    files = {name: _files(dataset) for name, dataset in datasets.items()}
    for one, other in combinations(sorted(files), 2):
        shared = files[one].keys() & files[other].keys()
        if shared:
            example = min(str(files[one][key]) for key in shared)
            raise DataError(
                f"the splits {one!r} and {other!r} share {len(shared)} file(s), such as {example}; "
                "splits must not share data"
            )


def _files(dataset: Dataset) -> dict[tuple[int, int], Path]:
    """Return the files of a dataset by device and inode."""
    paths = [Path(file) for index in range(len(dataset)) for file in dataset.files(index)]
    return {(path.stat().st_dev, path.stat().st_ino): path for path in paths}
