"""Means, standard errors and paired differences against closed forms; who is better, and when nobody is."""

from __future__ import annotations

import math

import pytest

from restore_hub.evaluate.comparison import difference, estimate
from restore_hub.evaluate.scores import Scores


def _scores(*values: float, metric: str = "m") -> Scores:
    each = {f"{index}-p": {metric: value} for index, value in enumerate(values)}
    return Scores({metric: sum(values) / len(values)}, each)


def test_a_mean_has_the_standard_error_of_its_samples() -> None:
    found = estimate(_scores(1, 2, 3, 4), "m")
    assert (found.mean, found.count) == (2.5, 4)
    assert found.error == pytest.approx(math.sqrt(5 / 3) / 2)  # the sum of squares is 5, divided by n - 1


def test_differences_are_paired() -> None:
    """The samples differ a lot from each other, the two candidates hardly, but always in the same direction."""
    first, other = _scores(10, 20, 30), _scores(10.9, 21, 31.1)
    found = difference(other, first, "m", True)
    assert found is not None
    assert found.estimate.mean == pytest.approx(1.0)
    assert found.estimate.error == pytest.approx(0.1 / math.sqrt(3))
    assert found.verdict == "better"


@pytest.mark.parametrize(
    ("other", "higher", "verdict"),
    [
        ((2.0, 3.1, 4.0), True, "better"),
        ((2.0, 3.1, 4.0), False, "worse"),
        ((0.0, 1.1, 2.0), True, "worse"),
        ((0.0, 1.1, 2.0), False, "better"),
        ((0.0, 3.0, 4.0), True, "no difference found"),  # 1/3 with an error of 2/3
        ((1.0, 2.0, 3.0), True, "no difference found"),
        ((1.5, 2.5, 3.5), True, "better"),  # always by the same
    ],
)
def test_who_is_better_by_more_than_two_standard_errors(other: tuple[float, ...], higher: bool, verdict: str) -> None:
    found = difference(_scores(*other), _scores(1, 2, 3), "m", higher)
    assert found is not None
    assert found.verdict == verdict


def test_exactly_two_standard_errors_are_not_more() -> None:
    """Of two samples, 1 and 3 more: the mean is 2 and its error 1."""
    found = difference(_scores(1, 3), _scores(0, 0), "m", True)
    assert found is not None
    assert (found.estimate.mean, found.estimate.error) == (2, 1)
    assert found.verdict == "no difference found"


def test_one_sample_tells_nothing() -> None:
    assert math.isnan(estimate(_scores(1), "m").error)
    found = difference(_scores(5), _scores(1), "m", True)
    assert found is not None
    assert found.verdict == "no difference found"


def test_equal_pictures_differ_by_nothing_though_their_psnr_is_infinite() -> None:
    found = difference(_scores(math.inf, 20), _scores(math.inf, 20), "m", True)
    assert found is not None
    assert (found.estimate.mean, found.estimate.error) == (0, 0)
    assert math.isnan(estimate(_scores(math.inf, 20), "m").error)


def test_a_metric_of_all_samples_has_its_value_alone() -> None:
    scores = Scores({"miou": 0.5}, {"0-p": {}, "1-p": {}})
    found = estimate(scores, "miou")
    assert (found.mean, found.count) == (0.5, 0)
    assert math.isnan(found.error)
    assert difference(scores, scores, "miou", True) is None
