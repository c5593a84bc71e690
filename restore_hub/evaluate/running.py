"""Metrics in one evaluation: each has a state of its own, and those of one sample are averaged."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from restore_hub.contracts import Metric, SampleMetric


class SampleMean:
    """The mean of a metric of one sample, as a metric of all.

    Attributes:
        values: of each sample, in order.
    """

    def __init__(self, metric: SampleMetric) -> None:
        self._metric = metric
        self.higher_is_better = metric.higher_is_better
        self.values: list[float] = []

    def update(self, **tensors: Any) -> None:
        """Measure one sample."""
        self.values.append(float(self._metric(**tensors)))

    def compute(self) -> float:
        """Return the mean."""
        return float(np.mean(self.values))


def begin(metric: Metric | SampleMetric) -> Metric:
    """Return a metric of all samples for one evaluation, with the state that the given one was made with."""
    own: Any = copy.deepcopy(metric)
    return own if hasattr(own, "compute") else SampleMean(own)
