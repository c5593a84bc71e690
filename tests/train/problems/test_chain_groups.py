"""Gradients of a chain by groups of the batch."""

from __future__ import annotations

import pytest
import torch

from restore_hub.batch import Batch
from restore_hub.bilevel import Rows, evaluate, lower_rows
from restore_hub.train.problems.chain_pair import ChainPair
from support import refused
from support.chains import Make, drawn, levels_of


def _grouped(pair: ChainPair, batch: Batch, groups: int | str) -> Rows:
    x = tuple(t.detach() for t in pair.couple(batch))
    return lower_rows(pair, x, pair.omega, batch, groups)


@pytest.mark.parametrize("groups", [1, 2, 4, "sample"])
@pytest.mark.parametrize("parts", [1, 2])
def test_groups_of_a_batch_add_up_to_the_lower_gradients(make: Make, groups: int | str, parts: int) -> None:
    _, pair = levels_of(make())
    merged = Batch.cat([drawn(1), drawn(2)])
    batch = merged if parts == 1 else Batch.of_parts([drawn(1), drawn(2)])
    if parts == 2 and groups == 1:
        with refused("train.groups-uneven-parts", groups=1, parts=2):
            _grouped(pair, batch, groups)
        return
    x = tuple(t.detach() for t in pair.couple(batch))
    whole = evaluate(pair, "lower", x, pair.omega, batch)
    rows = _grouped(pair, batch, groups)
    assert len(rows.omega[0]) == (4 if groups == "sample" else groups)
    for ours, plain in zip(
        (rows.total().value, *rows.total().x, *rows.total().omega), (whole.value, *whole.x, *whole.omega), strict=True
    ):
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-13)
    owner = rows.x[0].owner
    assert owner is not None
    assert owner.tolist() == [[0] * 4, [0, 0, 1, 1], [0, 1, 2, 3]][len(rows.omega[0]) // 2][: 4 // parts]
    if parts == 2:  # groups are counted on through the parts of the batch
        later = rows.x[len(rows.x) // 2].owner
        assert later is not None
        assert later.tolist() == ([1, 1] if len(rows.omega[0]) == 2 else [2, 3])
    first, *_ = merged.split([4 // len(rows.omega[0])] * len(rows.omega[0]))
    slices = tuple(t.detach() for t in pair.couple(first))
    alone = evaluate(pair, "lower", slices, pair.omega, first)
    for ours, plain in zip(rows.omega, alone.omega, strict=True):  # equal counts: F_1 is its own mean over m
        torch.testing.assert_close(len(ours) * ours[0], plain, rtol=1e-9, atol=1e-12)


def test_groups_share_the_parameters_of_late_upper_blocks(make: Make) -> None:
    late = [
        "stages.1.upper={blocks: [enhance], objective: fidelity, data: upper}",
        "stages.1.lower={blocks: [generate], objective: fidelity, data: train}",
    ]
    _, pair = levels_of(make(*late))
    batch = drawn(1)
    x = pair.couple(batch)
    assert [id(t) for t in x] == [id(t) for t in pair.theta]
    rows = _grouped(pair, batch, "sample")
    whole = evaluate(pair, "lower", x, pair.omega, batch)
    assert all(share.owner is None and len(share.value) == 2 for share in rows.x)
    torch.testing.assert_close(rows.total().x, whole.x, rtol=1e-9, atol=1e-12)


def test_more_groups_than_samples_and_batch_statistics_are_refused(make: Make) -> None:
    chain, pair = levels_of(make())
    with refused("train.groups-above-samples", groups=3, samples=2):
        _grouped(pair, drawn(1), 3)
    chain.blocks["enhance"].add_module("statistics", torch.nn.BatchNorm2d(3))
    with refused("train.groups-batch-norm", "block 'enhance'", layer="BatchNorm2d"):
        _grouped(pair, drawn(1), 2)
