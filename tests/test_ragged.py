"""Values of which each sample has its own number, alone and in batches."""

from __future__ import annotations

import torch

from restore_hub.batch import Batch
from restore_hub.ragged import Ragged

SAMPLES = [torch.full((n, 4), float(n)) for n in (2, 0, 3)]


def test_samples_come_back_as_they_were() -> None:
    boxes = Ragged.of(SAMPLES)
    assert len(boxes) == 3
    assert all(torch.equal(one, other) for one, other in zip(boxes, SAMPLES, strict=True))
    assert torch.equal(boxes[2], SAMPLES[2])
    assert boxes.owners.tolist() == [0, 0, 2, 2, 2]


def test_pieces_are_views_and_join_again() -> None:
    boxes = Ragged.of(SAMPLES)
    first, second = boxes.split([1, 2])
    assert (first.lengths, second.lengths) == ((2,), (0, 3))
    assert second.values.untyped_storage().data_ptr() == boxes.values.untyped_storage().data_ptr()
    again = Ragged.cat([first, second])
    assert torch.equal(again.values, boxes.values)
    assert again.lengths == boxes.lengths


def test_none_at_all_keeps_the_axes_of_a_value() -> None:
    none = Ragged.of([torch.zeros(0, 4), torch.zeros(0, 4)])
    assert none.values.shape == (0, 4)
    assert [len(sample) for sample in none] == [0, 0]


def test_a_batch_cuts_and_joins_them_beside_tensors() -> None:
    batch = Batch({"x": torch.arange(3.0), "boxes": Ragged.of(SAMPLES)})
    one, two = batch.split([2, 1])
    assert (len(one), len(two)) == (2, 1)
    assert two["boxes"].lengths == (3,)
    joined = Batch.of_parts([two, one])
    assert joined["boxes"].lengths == (3, 2, 0)
    assert joined["x"].tolist() == [2, 0, 1]
    assert batch.to(torch.float64)["boxes"].values.dtype == torch.float64
    classes = Batch({"classes": Ragged(torch.arange(3), (1, 2))})
    assert classes.to(torch.float64)["classes"].values.dtype == torch.int64
