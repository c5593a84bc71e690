"""Each evaluation has its own state, and scores are compared sample by sample."""

from __future__ import annotations

import math

import pytest

from restore_hub.contracts import Metric, SampleMetric
from restore_hub.evaluate.running import SampleMean, begin
from restore_hub.evaluate.scores import Scores


class Last:
    higher_is_better = False

    def __call__(self, value: float) -> float:
        return value


class Total:
    higher_is_better = True

    def __init__(self) -> None:
        self.values = [1.0]

    def update(self, value: float) -> None:
        self.values.append(value)

    def compute(self) -> float:
        return sum(self.values)


@pytest.mark.parametrize(("metric", "wanted"), [(Last(), 3.0), (Total(), 7.0)], ids=["of a sample", "of all"])
def test_evaluations_begin_with_the_state_that_the_metric_was_made_with(
    metric: Metric | SampleMetric, wanted: float
) -> None:
    one, other = begin(metric), begin(metric)
    one.update(value=2.0)
    other.update(value=50.0)
    one.update(value=4.0)
    assert one.compute() == wanted
    assert other.compute() == (51.0 if isinstance(metric, Total) else 50.0)
    assert one.higher_is_better is metric.higher_is_better
    assert isinstance(one, SampleMean) == isinstance(metric, Last)


def test_scores_are_compared_on_the_samples_that_both_have() -> None:
    one = Scores({}, {"0-a": {"psnr": 30.0}, "1-b": {"psnr": 20.0}, "2-c": {"psnr": 9.0}, "3-d": {"epe": 1.0}})
    other = Scores({}, {"1-b": {"psnr": 22.0}, "0-a": {"psnr": 29.0}, "2-c": {}, "3-d": {"epe": math.inf}})
    assert one.above(other, "psnr") == {"0-a": 1.0, "1-b": -2.0}
    assert other.above(one, "epe") == {"3-d": math.inf}
