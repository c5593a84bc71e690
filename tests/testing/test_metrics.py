"""The conformance kit on metrics, of one sample and of all."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import pytest

from restore_hub.errors import DataError
from restore_hub.testing import check_metric

MAPS = [{"made": np.full((4, 4), i), "wanted": np.arange(16).reshape(4, 4) % 3} for i in range(3)]
SEEN: list[int] = []


class Distance:
    higher_is_better = False

    def __call__(self, prediction: Any, target: Any) -> Any:
        if prediction.shape != target.shape:
            raise DataError("mine.sizes", what="sizes differ")
        return float(np.mean(np.abs(prediction - target)))


class Accuracy:
    """Share of all pixels whose class is right."""

    higher_is_better = True

    def __init__(self) -> None:
        self.right: list[int] = []

    def update(self, made: Any, wanted: Any) -> Any:
        self.right += (made == wanted).ravel().tolist()

    def compute(self) -> Any:
        return sum(self.right) / len(self.right)


class RootMeanSquare:
    """Of all pictures together, so not the mean of each one's."""

    higher_is_better = False

    def __init__(self) -> None:
        self.errors: list[Any] = []

    def update(self, prediction: Any, target: Any) -> None:
        Distance()(prediction, target)
        self.errors.append((prediction - target) ** 2)

    def compute(self) -> float:
        return float(np.sqrt(np.mean(self.errors)))


def test_sound_metrics_pass() -> None:
    check_metric(Distance)
    check_metric(RootMeanSquare)
    check_metric(Accuracy, inputs=MAPS)
    check_metric(Accuracy(), inputs=MAPS)


def _halved(metric: Distance, prediction: Any, target: Any) -> Any:
    prediction *= 0.5
    return Distance.__call__(metric, prediction * 2, target)


def _relative(metric: Any, prediction: Any, target: Any) -> Any:
    """Divide by the error of the first picture, as a metric that calibrates itself."""
    metric.first = getattr(metric, "first", Distance.__call__(metric, prediction, target) or 1.0)
    return Distance.__call__(metric, prediction, target) / metric.first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"higher_is_better": True}, "equal, near and far"),
        ({"higher_is_better": None}, "not a bool"),
        ({"__call__": lambda own, a, b: Distance.__call__(own, a[:31], b[:31])}, "different sizes"),
        ({"__call__": lambda own, a, b: np.float32(Distance.__call__(own, a, b))}, "not a float"),
        ({"__call__": lambda own, a, b: Distance.__call__(own, a, b) * math.nan}, "not a float"),
        ({"__call__": lambda _, a: float(a.mean())}, "pass `inputs` to the check"),
        ({"__call__": _halved}, "changes the arrays"),
        ({"__call__": _relative}, "depends on earlier samples"),
        ({"update": Distance.__call__}, "both `update` and `compute`"),
    ],
)
def test_a_broken_metric_of_a_picture_is_told_what_it_broke(change: dict[str, Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_metric(type("Broken", (Distance,), change))


class InTheClass(Accuracy):
    right: ClassVar[list[int]] = []

    def __init__(self) -> None:
        pass


class InTheModule(Accuracy):
    def __init__(self) -> None:
        self.right = SEEN

    def __deepcopy__(self, memo: object) -> InTheModule:
        return InTheModule()


class BestEver(Accuracy):
    """A largest value, not a mean, that lives on in the class."""

    best = 0.0

    def compute(self) -> Any:
        type(self).best = max(self.best, super().compute())
        return self.best


class Shared(Accuracy):
    """Empties itself when it is copied, so only evaluations beside each other disturb each other."""

    def __deepcopy__(self, memo: object) -> Shared:
        self.right.clear()
        return self


class Doubles(Accuracy):
    def update(self, made: Any, wanted: Any) -> Any:
        super().update(made, wanted)
        return 1.0


class Overwrites(Accuracy):
    def update(self, made: Any, wanted: Any) -> Any:
        made[made > 1] = 0
        return super().update(made, wanted)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (InTheClass, "from one evaluation to the next"),
        (InTheModule, "from one evaluation to the next"),
        (BestEver, "from one evaluation to the next"),
        (Shared, "copies share state"),
        (Doubles, "update returns float"),
        (Overwrites, "changes the arrays"),
    ],
)
def test_a_broken_metric_of_all_samples_is_told_what_it_broke(broken: type, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_metric(broken, inputs=MAPS)
    with pytest.raises(AssertionError, match="three samples"):
        check_metric(Accuracy, inputs=MAPS[:2])
