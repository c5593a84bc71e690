"""Draws the samples of the splits, the wrong labels, and the samples of a batch."""

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
    """Return disjoint random samples of the given sizes in random order, with classes as balanced as possible.

    Raises:
        DataError: there are fewer samples than requested.
    """
    if sum(sizes) > len(labels):
        raise DataError("cleaning.too-few-samples", requested=" + ".join(map(str, sizes)), found=len(labels))
    # The i-th samples of all classes are adjacent, so any run of them is balanced while the classes last.
    order = rng.permutation(len(labels))
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels[order] == label)
        rank[own] = np.arange(len(own))
    order = order[np.argsort(rank, kind="stable")]
    ends = np.cumsum(sizes)
    return [rng.permutation(part) for part in np.split(order[: ends[-1]], ends[:-1])]


def corrupt(labels: Tensor, part: float, classes: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return labels with a part changed to another class, drawn uniformly, and a mask of those still correct.

    Args:
        labels: (n,) int64.
        part: 0 to 1; round(part * n) labels change.
        classes: number of classes.
        rng: makes the draws.
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
    """Batches of `size` of `count` samples, reshuffled for each epoch, as a function of (seed, index)."""

    count: int
    size: int

    def batch(self, seed: int, index: int) -> Indices:
        """Return the samples of a batch, (size,); the last batch of an epoch is filled up from the next one."""
        if self.size == self.count:
            return np.arange(self.count)
        first = index * self.size
        epochs = range(first // self.count, (first + self.size - 1) // self.count + 1)
        orders = [np.random.default_rng((seed, epoch)).permutation(self.count) for epoch in epochs]
        start = first - epochs[0] * self.count
        return np.concatenate(orders)[start : start + self.size]
