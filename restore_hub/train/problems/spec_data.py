"""The data sets of a spec, as what chains and problems train on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from restore_hub.contracts import Port
from restore_hub.errors import SpecError
from restore_hub.plan.plan import Plan
from restore_hub.plan.samples import Samples
from restore_hub.plan.splits import check_splits_apart, make_dataset, notes_of
from restore_hub.train.batches import Stream
from restore_hub.train.problems.trainable import Description
from restore_hub.train.ranks import Ranks


def stream_of(plan: Plan, data: Mapping[str, Samples], split: str, seed: int, key: str, ranks: Ranks) -> Stream:
    """Return the batches of a split of the spec's data.

    Raises:
        SpecError: a batch has fewer samples than there are processes.
    """
    size = plan.spec.data[split].batch_size
    if size < ranks.size:
        place = plan.document.at("data", split, "batch_size")
        raise SpecError("train.batch-below-processes", place, samples=size, processes=ranks.size)
    return Stream(data[split], size, seed, key, ranks.rank, ranks.size)


def describe(data: Mapping[str, Samples]) -> Description:
    """Return the sizes of splits and the notes of their data sets."""
    datasets = {name: samples.dataset for name, samples in data.items()}
    splits = {
        name: {"samples": len(dataset), "notes": list(getattr(dataset, "notes", ()))}
        for name, dataset in datasets.items()
    }
    return Description(splits, notes_of(datasets))


def make_data(plan: Plan, takes: Mapping[str, Sequence[Port]] | None = None) -> dict[str, Samples]:
    """Make the data sets of a spec.

    Args:
        plan: of the spec.
        takes: the ports of blocks that read a number, by its name in the data.

    Raises:
        SpecError: one refuses an option or has no samples. DataError: two splits share a file.
    """
    datasets = {name: make_dataset(plan, name) for name in plan.datasets}
    check_splits_apart(datasets)
    return {name: Samples(dataset, name, plan.spec.data[name].strict, takes) for name, dataset in datasets.items()}
