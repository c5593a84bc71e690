"""The datasets of a spec, made: splits that have samples and share no file, and their notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from restore_hub.contracts import Dataset
from restore_hub.errors import DataError, reason_of
from restore_hub.plan.lookup import Part

if TYPE_CHECKING:
    from restore_hub.plan.plan import Plan


def make_dataset(plan: Plan, split: str) -> Dataset:
    """Make the dataset of a split.

    Raises:
        SpecError: it refuses an option or its data, or has no samples.
    """
    return dataset_of(plan.datasets[split])


def dataset_of(part: Part) -> Dataset:
    """Make a dataset.

    Raises:
        SpecError: as `make_dataset`.
    """
    dataset: Dataset = part.make()
    if len(dataset) == 0:
        raise part.error("data.no-samples")
    notes = getattr(dataset, "notes", ())
    if isinstance(notes, str) or not isinstance(notes, Sequence) or not all(isinstance(note, str) for note in notes):
        raise part.error("data.bad-notes", component=part.component.name, got=notes)
    return dataset


def check_splits_apart(datasets: Mapping[str, Dataset]) -> None:
    """Refuse splits that share a file, also under another name or as a link: what trains must not measure.

    Raises:
        DataError: two splits share a file.
    """
    files = {name: _files(dataset) for name, dataset in datasets.items()}
    for one, other in combinations(sorted(files), 2):
        shared = files[one].keys() & files[other].keys()
        if shared:
            example = min(str(files[one][key]) for key in shared)
            raise DataError(
                "data.splits-share-files", f"data.{one}", one=one, other=other, count=len(shared), example=example
            )


def notes_of(datasets: Mapping[str, Dataset]) -> list[str]:
    """Return the datasets' notes for a person, each with the name of its split."""
    return [f"data.{name}: {note}" for name, dataset in datasets.items() for note in getattr(dataset, "notes", ())]


def _files(dataset: Dataset) -> dict[tuple[int, int], Path]:
    """Return the files of a dataset by device and inode."""
    paths = [Path(file) for index in range(len(dataset)) for file in dataset.files(index)]
    try:
        return {(path.stat().st_dev, path.stat().st_ino): path for path in paths}
    except OSError as error:
        raise DataError("data.file-missing", error.filename, cause=reason_of(error)) from error
