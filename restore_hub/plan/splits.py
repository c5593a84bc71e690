"""The datasets of a spec, made: splits that have samples, share no file, and say what a person should know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from restore_hub.contracts import Dataset
from restore_hub.errors import DataError, OptionError
from restore_hub.plan.plan import Plan


def make_dataset(plan: Plan, split: str) -> Dataset:
    """Make the dataset of a split.

    Raises:
        SpecError: data or an option that it refuses, or no samples; with the place in the file.
    """
    try:
        dataset: Dataset = plan.datasets[split].make()
    except OptionError as error:
        raise plan.document.error(str(error), "data", split, error.option) from None
    except DataError as error:
        raise plan.document.error(str(error), "data", split) from None
    if len(dataset) == 0:
        raise plan.document.error("the split has no samples", "data", split)
    notes = getattr(dataset, "notes", ())
    if isinstance(notes, str) or not isinstance(notes, Sequence) or not all(isinstance(note, str) for note in notes):
        name = plan.datasets[split].component.name
        raise plan.document.error(f"{name} has notes {notes!r}; they are a tuple of texts", "data", split)
    return dataset


def check_splits_apart(datasets: Mapping[str, Dataset]) -> None:
    """Refuse splits that share a file, under whatever name: links to one file are the same file.

    What trains must not measure, and the two levels must not share data.

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


def notes_of(datasets: Mapping[str, Dataset]) -> list[str]:
    """Return what the datasets want a person to know, each with the name of its split."""
    return [f"data.{name}: {note}" for name, dataset in datasets.items() for note in getattr(dataset, "notes", ())]


def _files(dataset: Dataset) -> dict[tuple[int, int], Path]:
    """Return the files of a dataset by device and inode."""
    paths = [Path(file) for index in range(len(dataset)) for file in dataset.files(index)]
    try:
        return {(path.stat().st_dev, path.stat().st_ino): path for path in paths}
    except OSError as error:
        raise DataError(f"{error.filename}: a file of the data cannot be found: {error.strerror}") from error
