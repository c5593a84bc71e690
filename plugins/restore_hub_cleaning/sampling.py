"""Which samples form the splits, which labels are wrong, and which samples a batch holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore_hub.errors import DataError

Indices = NDArray[np.int64]


def split_classes(labels: NDArray[np.uint8], sizes: Sequence[int], rng: np.random.Generator) -> list[Indices]:
    """Return disjoint random samples of the given sizes, with classes as even as they can be, in random order.

    Raises:
        DataError: fewer samples than are asked for in all.
    """
    if sum(sizes) > len(labels):
        raise DataError(
            f"{' + '.join(map(str, sizes))} samples are asked for and the files have {len(labels)}; ask for fewer"
        )
    # The i-th samples of all classes stand together, so that any run of them is balanced while classes last.
    order = rng.permutation(len(labels))
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels[order] == label)
        rank[own] = np.arange(len(own))
    order = order[np.argsort(rank, kind="stable")]
    ends = np.cumsum(sizes)
    return [rng.permutation(part) for part in np.split(order[: ends[-1]], ends[:-1])]


def corrupt(labels: Tensor, part: float, classes: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return labels of which a part is another class, drawn evenly from the others, and which ones are still right.

    Args:
        labels: (n,) int64.
        part: of the labels, 0 to 1; round(part * n) of them change.
        classes: number of classes.
        rng: draws.
    """
    wrong = torch.from_numpy(rng.permutation(len(labels))[: round(part * len(labels))])
    steps = torch.from_numpy(rng.integers(1, classes, len(wrong)))
    changed = labels.clone()
    changed[wrong] = (labels[wrong] + steps) % classes
    clean = torch.ones(len(labels), dtype=torch.bool)
    clean[wrong] = False
    return changed, clean


@dataclass(frozen=True, slots=True)
class Order:
    """Batches of `size` of `count` samples, shuffled anew in each epoch, as a function of (seed, index)."""

    count: int
    size: int

    def batch(self, seed: int, index: int) -> Indices:
        """Return the samples of a batch, (size,); the last ones of an epoch are joined by the first of the next."""
        if self.size == self.count:
            return np.arange(self.count)
        first = index * self.size
        epochs = range(first // self.count, (first + self.size - 1) // self.count + 1)
        orders = [np.random.default_rng((seed, epoch)).permutation(self.count) for epoch in epochs]
        start = first - epochs[0] * self.count
        return np.concatenate(orders)[start : start + self.size]
