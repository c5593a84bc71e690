"""Means with their standard errors, and paired differences between candidates."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from restore_hub.evaluate.scores import Scores

ERRORS = 2  # standard errors beyond which a difference counts

Verdict = Literal["better", "worse", "no difference found"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over samples.

    Attributes:
        error: its standard error, the sample deviation over the root of the number; NaN for fewer than two samples or a
            metric that has no value of a single sample.
        count: of the samples with a value.
    """

    mean: float
    error: float
    count: int


def estimate(scores: Scores, metric: str) -> Estimate:
    """Return a metric's mean, which for one of all samples is its value."""
    values = [each[metric] for each in scores.each.values() if metric in each]
    return Estimate(scores.means[metric], _error(values), len(values))


@dataclass(frozen=True, slots=True)
class Difference:
    """By how much a candidate exceeds another on the same samples.

    Attributes:
        verdict: whether the candidate is better by more than two standard errors, worse, or neither.
    """

    estimate: Estimate
    verdict: Verdict


def difference(scores: Scores, first: Scores, metric: str, higher_is_better: bool) -> Difference | None:
    """Return the paired difference to the first candidate; `None` for a metric without values of samples."""
    values = list(scores.above(first, metric).values())
    if not values:
        return None
    found = Estimate(float(np.mean(values)), _error(values), len(values))
    return Difference(found, _verdict(found, higher_is_better))


def _verdict(found: Estimate, higher_is_better: bool) -> Verdict:
    if not abs(found.mean) > ERRORS * found.error:  # NaN is not
        return "no difference found"
    return "better" if (found.mean > 0) == higher_is_better else "worse"


def _error(values: Iterable[float]) -> float:
    """Return the standard error of a mean."""
    array = np.array(list(values))
    if len(array) < 2 or not np.isfinite(array).all():
        return math.nan
    return float(array.std(ddof=1) / math.sqrt(len(array)))
