"""Which batches a solver gets in each outer step."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from restore_hub.batch import Batch
from restore_hub.plan import Plan, build_chain
from restore_hub.plan.objectives import Objectives
from restore_hub.plan.samples import Samples
from restore_hub.train.feed import Feed
from restore_hub.train.problems.chain import TrainableChain
from restore_hub.train.setup import Setup
from support.chains import Make

SAME_SPLIT = ("stages.1.upper.data=train", "stages.1.share_batch=true", "stages.1.lower.batches=one")


def _feed(plan: Plan, index: int = 1) -> Feed:
    data = {name: Samples(part.make(), name) for name, part in plan.datasets.items()}
    chain = build_chain(plan)
    losses = {name: part.make() for name, part in plan.losses.items()}
    objectives = Objectives(losses, {name: part.inputs for name, part in plan.losses.items()})
    trainable = TrainableChain(plan, chain, objectives, data, {})
    return Feed(Setup(plan, trainable, torch.device("cpu")), plan.spec.stages[index])


def _numbers(batches: Sequence[Batch]) -> list[float]:
    return [float(part["raw"].double().sum()) for batch in batches for part in batch.parts]


def test_fresh_lower_batches_follow_each_other_without_repeating(make: Make) -> None:
    feed = _feed(make("stages.1.lower.steps=3"))
    (stream,) = feed._streams[1]
    for step in range(4):
        batches = feed.batches(step)
        assert batches.steps == len(batches.lower) == 3
        assert _numbers(batches.lower) == _numbers([stream.batch(3 * step + i) for i in range(3)])


def test_one_lower_batch_serves_all_steps(make: Make) -> None:
    batches = _feed(make("stages.1.lower.steps=3", "stages.1.lower.batches=one")).batches(2)
    assert (len(batches.lower), batches.steps) == (1, 3)


def test_a_batch_in_parts_reads_what_a_larger_batch_reads(make: Make) -> None:
    parts = _feed(make("stages.1.lower.accumulate=3", "data.train.batch_size=2")).batches(1).lower
    whole = _feed(make("data.train.batch_size=6")).batches(1).lower
    assert [len(batch.parts) for batch in parts] == [3] * len(whole)
    for batch, one in zip(parts, whole, strict=True):
        assert torch.equal(batch["raw"], one["raw"])


def test_lower_batches_are_made_when_they_are_read_and_the_last_one_once(make: Make) -> None:
    feed = _feed(make("stages.1.lower.steps=4"))
    made: list[int] = []
    make_batch = feed._batch
    feed._batch = lambda place, index: made.append(index) or make_batch(place, index)  # type: ignore[method-assign, func-returns-value]
    batches = feed.batches(1)
    assert made == [1], "the upper one"
    last = batches.lower[-1]
    for step in range(4):
        assert batches.lower[step] is batches.lower[step]
    assert batches.lower[3] is last
    assert made == [1, 7, 4, 5, 6]
    assert len(batches.lower[1:]) == 3
    with pytest.raises(IndexError):
        batches.lower[4]


def test_a_shared_batch_is_one_object_and_others_are_not(make: Make) -> None:
    shared = _feed(make(*SAME_SPLIT)).batches(0)
    assert shared.upper is shared.lower[-1]
    apart = _feed(make()).batches(0)
    assert apart.upper is not apart.lower[-1]


def test_stages_of_another_solver_see_the_same_batches(make: Make) -> None:
    one = _feed(make()).batches(1)
    other = _feed(make("stages.1.solver=alternating")).batches(1)
    assert _numbers([one.upper, *one.lower]) == _numbers([other.upper, *other.lower])
