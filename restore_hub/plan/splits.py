"""Splits that share no file: what trains must not measure, and the two levels must not share data."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

from restore_hub.contracts import Dataset
from restore_hub.errors import DataError


def check_splits_apart(datasets: Mapping[str, Dataset]) -> None:
    """Refuse splits that share a file.

    Raises:
        DataError: naming the file and both splits.
    """
    files = {name: _files(dataset) for name, dataset in datasets.items()}
    for one, other in combinations(sorted(files), 2):
        shared = sorted(files[one] & files[other])
        if shared:
            raise DataError(
                f"the splits {one!r} and {other!r} share {len(shared)} file(s), such as {shared[0]}; "
                "splits must not share data"
            )


def _files(dataset: Dataset) -> set[Path]:
    return {Path(file).resolve() for index in range(len(dataset)) for file in dataset.files(index)}
