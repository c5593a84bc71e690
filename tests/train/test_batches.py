"""Batches are a function of (seed, stream, index) and of which files can be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from restore_hub.contracts import Port
from restore_hub.errors import DataError, UnreadableFileError
from restore_hub.plan.samples import Samples
from restore_hub.ragged import Ragged
from restore_hub.train.batches import Stream
from support import refused


class Numbers:
    """Sample i holds i, and a draw from the generator; the indices in `bad` cannot be read."""

    ports = {"x": Port(1), "u": Port(1, "map", axes=("channel",))}

    def __init__(self, count: int, ragged: bool = False, bad: Sequence[int] = ()) -> None:
        self.count, self.ragged, self.bad = count, ragged, bad
        self.tried: list[int] = []

    def __len__(self) -> int:
        return self.count

    def files(self, index: int) -> Sequence[Path]:
        return ()

    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, np.ndarray]:
        self.tried.append(index)
        draw = rng.random() if rng else 0.0
        if index in self.bad:
            raise UnreadableFileError("mine.cut", f"{index}.dng", what="cut off")
        side = index + 1 if self.ragged else 1
        return {"x": np.full((1, side, side), index, np.float32), "u": np.float32([draw]), "_hidden": np.zeros(3)}


def _stream(dataset: Numbers, batch_size: int, seed: int = 0, key: str = "a") -> Stream:
    return Stream(Samples(dataset, "train"), batch_size, seed, key)


def _indices(stream: Stream, batches: int) -> list[int]:
    return [int(i) for b in range(batches) for i in stream.batch(b)["x"].flatten()]


def test_each_epoch_visits_every_sample_once_in_a_new_order() -> None:
    order = _indices(_stream(Numbers(7), 3), 14)
    epochs = [order[i : i + 7] for i in range(0, 42, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_batch_depends_on_seed_key_and_index_alone() -> None:
    one, two = (_stream(Numbers(5), 2, seed=4) for _ in range(2))
    later = one.batch(3)
    for index in range(3):
        two.batch(index)
    again = two.batch(3)
    assert all(torch.equal(later[name], again[name]) for name in later.tensors)
    for other in (_stream(Numbers(5), 2, seed=5), _stream(Numbers(5), 2, seed=4, key="b")):
        assert not torch.equal(other.batch(3)["u"], later["u"])


def test_hidden_arrays_are_not_batched_and_draws_differ_between_positions() -> None:
    batch = _stream(Numbers(2), 4).batch(0)
    assert set(batch.tensors) == {"x", "u"}
    assert len(set(batch["u"].flatten().tolist())) == 4


def test_samples_of_different_sizes_are_refused() -> None:
    with refused("train.sizes-differ", "data.train", tensor="x"):
        _stream(Numbers(3, ragged=True), 3).batch(0)


class Boxes(Numbers):
    """Sample i has i boxes and a class map."""

    ports = {"boxes": Port.several("box", coordinate=4), "classes": Port.classes(9)}

    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, np.ndarray]:
        return {"boxes": np.full((index, 4), index, np.float32), "classes": np.full((2, 3), index, np.int64)}


def test_ragged_values_and_classes_keep_their_lengths_and_type() -> None:
    batch = _stream(Boxes(4), 4).batch(0)
    boxes, classes = batch["boxes"], batch["classes"]
    assert isinstance(boxes, Ragged)
    order = [int(index) for index in classes[:, 0, 0]]
    assert classes.dtype == torch.int64
    assert boxes.lengths == tuple(order)
    assert boxes.values[:, 0].tolist() == [index for index in order for _ in range(index)]


@pytest.mark.parametrize(
    ("array", "got", "declared"),
    [
        (np.zeros((2, 3), np.float32), "float32", "int64"),
        (np.zeros((1, 2, 3), np.int64), "of shape (1, 2, 3)", "(y, x)"),
    ],
)
def test_a_sample_that_its_port_does_not_describe_is_an_error(array: np.ndarray, got: str, declared: str) -> None:
    class Wrong(Boxes):
        def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, np.ndarray]:
            return {"boxes": np.zeros((0, 4), np.float32), "classes": array}

    with refused("data.sample-misfit", "data.train", tensor="classes", got=got, declared=declared):
        _stream(Wrong(1), 1).batch(0)


@pytest.mark.parametrize(
    ("change", "code", "tensor"),
    [({}, "data.sample-lacks", "classes"), ({"more": 1}, "data.sample-undeclared", "more")],
)
def test_a_sample_has_what_its_ports_declare(change: dict[str, int], code: str, tensor: str) -> None:
    class Other(Boxes):
        def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, np.ndarray]:
            return {"boxes": np.zeros((0, 4), np.float32), **{name: np.zeros(1) for name in change}}

    with refused(code, "data.train", tensor=tensor):
        _stream(Other(1), 1).batch(0)


def test_the_next_readable_sample_of_the_epoch_takes_the_place_of_a_bad_one() -> None:
    whole, holed = _indices(_stream(Numbers(6), 6), 4), _indices(_stream(Numbers(6, bad=(1, 4)), 6), 4)
    for epoch in range(4):
        order = whole[6 * epoch : 6 * epoch + 6]
        for place, index in enumerate(order):
            following = [i for i in order[place:] + order[:place] if i not in (1, 4)]
            assert holed[6 * epoch + place] == following[0]
            assert index in (1, 4) or following[0] == index


def test_what_was_tried_before_changes_no_batch_and_no_bad_sample_is_tried_twice() -> None:
    fresh, used = Numbers(5, bad=(0, 3)), Numbers(5, bad=(0, 3))
    stream = _stream(used, 2)
    for index in range(7):
        stream.batch(index)
    for index in (9, 2):
        one, two = _stream(fresh, 2).batch(index), stream.batch(index)
        assert all(torch.equal(one[name], two[name]) for name in one.tensors)
    assert used.tried.count(0) == used.tried.count(3) == 1


def test_each_sample_left_out_is_told_once() -> None:
    told: list[tuple[int, str]] = []
    samples = Samples(Numbers(3, bad=(2,)), "train")
    samples.notify = lambda index, reason: told.append((index, reason))
    for key in "ab":
        Stream(samples, 3, 0, key).batch(0)
    assert told == [(2, "2.dng: cut off")]
    assert samples.left_out == dict(told)
    assert samples.summary() == "left out 1 of 3 samples of 'train': 2.dng: cut off"
    many = Samples(Numbers(9, bad=range(1, 9)), "upper")
    Stream(many, 9, 0, "a").batch(0)
    assert many.summary().startswith("left out 8 of 9 samples of 'upper': ")
    assert many.summary().endswith(".dng: cut off (and 7 more)")


def test_nothing_readable_is_an_error_with_the_first_reason() -> None:
    with refused("data.none-readable", "data.train", count=2):
        _stream(Numbers(2, bad=(0, 1)), 1).batch(0)


def test_a_strict_split_and_other_faults_are_errors_at_once() -> None:
    with refused("mine.cut", "1.dng"):
        Stream(Samples(Numbers(2, bad=(1,)), "train", strict=True), 2, 0, "a").batch(0)

    class Small(Numbers):
        def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, np.ndarray]:
            raise DataError("mine.crop", what="the crop does not fit")

    with refused("mine.crop"):
        _stream(Small(2), 1).batch(0)
