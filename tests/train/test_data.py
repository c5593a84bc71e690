"""Batches are a function of (seed, stream, index)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from restore_hub.contracts import Port
from restore_hub.errors import DataError
from restore_hub.train.data import Stream


class Numbers:
    """Sample i holds i, and a draw from the generator."""

    ports = {"x": Port(1)}

    def __init__(self, count: int, ragged: bool = False) -> None:
        self.count, self.ragged = count, ragged

    def __len__(self) -> int:
        return self.count

    def files(self, index: int) -> Sequence[Path]:
        return ()

    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, np.ndarray]:
        side = index + 1 if self.ragged else 1
        draw = rng.random() if rng else 0.0
        return {"x": np.full((1, side, side), index, np.float32), "u": np.float32([draw]), "_hidden": np.zeros(3)}


def _indices(stream: Stream, batches: int) -> list[int]:
    return [int(i) for b in range(batches) for i in stream.batch(b)["x"].flatten()]


def test_each_epoch_visits_every_sample_once_in_a_new_order() -> None:
    stream = Stream(Numbers(7), 3, seed=0, key="a")
    order = _indices(stream, 14)
    epochs = [order[i : i + 7] for i in range(0, 42, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_batch_depends_on_seed_key_and_index_alone() -> None:
    one, two = (Stream(Numbers(5), 2, seed=4, key="a") for _ in range(2))
    later = one.batch(3)
    for index in range(3):
        two.batch(index)
    again = two.batch(3)
    assert all(torch.equal(later[name], again[name]) for name in later)
    for other in (Stream(Numbers(5), 2, seed=5, key="a"), Stream(Numbers(5), 2, seed=4, key="b")):
        assert not torch.equal(other.batch(3)["u"], later["u"])


def test_hidden_arrays_are_not_batched_and_draws_differ_between_positions() -> None:
    stream = Stream(Numbers(2), 4, seed=0, key="a")
    batch = stream.batch(0)
    assert set(batch) == {"x", "u"}
    assert len(set(batch["u"].flatten().tolist())) == 4


def test_an_empty_dataset_and_samples_of_different_sizes_are_refused() -> None:
    with pytest.raises(DataError, match="has no samples"):
        Stream(Numbers(0), 1, seed=0, key="empty")
    with pytest.raises(DataError, match=r"differ in size .*set `crop`"):
        Stream(Numbers(3, ragged=True), 3, seed=0, key="a").batch(0)
