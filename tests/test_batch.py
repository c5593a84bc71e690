"""A batch: samples along the first axis, whole or in parts."""

from __future__ import annotations

import torch

from restore_hub.batch import Batch


def _numbers(first: int, count: int) -> dict[str, torch.Tensor]:
    numbers = torch.arange(first, first + count)
    return {"x": numbers.float()[:, None], "label": numbers}


def test_split_and_cat_are_inverse_and_split_copies_nothing() -> None:
    batch = Batch(_numbers(0, 5))
    pieces = batch.split([1, 4])
    assert [len(piece) for piece in pieces] == [1, 4]
    assert pieces[1]["x"].data_ptr() == batch["x"][1:].data_ptr()
    assert all(torch.equal(Batch.cat(pieces)[name], batch[name]) for name in ("x", "label"))


def test_a_batch_in_parts_has_the_samples_of_all_in_order() -> None:
    parts = Batch(_numbers(0, 2)), Batch(_numbers(2, 3))
    batch = Batch.of_parts(parts)
    assert (len(batch), [len(part) for part in batch.parts]) == (5, [2, 3])
    assert batch["label"].tolist() == [0, 1, 2, 3, 4]
    assert batch.parts[1]["x"] is parts[1]["x"]
    assert Batch(_numbers(0, 2)).parts[0].parts[0]["label"].tolist() == [0, 1]


def test_parts_may_differ_in_size() -> None:
    batch = Batch({"x": torch.zeros(1, 3, 4, 4)}, {"x": torch.zeros(1, 3, 6, 8)})
    assert [tuple(part["x"].shape[2:]) for part in batch.parts] == [(4, 4), (6, 8)]
    assert len(batch) == 2


def test_another_type_is_for_floating_point_tensors_alone() -> None:
    batch = Batch(_numbers(0, 2), _numbers(2, 2)).to(torch.float64)
    assert (batch["x"].dtype, batch["label"].dtype, len(batch.parts)) == (torch.float64, torch.int64, 2)
    assert Batch(batch.tensors).to("meta")["label"].device.type == "meta"
