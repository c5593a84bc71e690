"""Checks of metrics, of one sample and of all."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import RestoreHubError
from restore_hub.evaluate.running import SampleMean, begin
from restore_hub.options import tensors_of
from restore_hub.testing.require import made, require

Sample = Mapping[str, NDArray[Any]]
NOISES = (0.02, 0.05, 0.1)


def check_metric(target: Any, /, inputs: Sequence[Sample] | None = None, **options: Any) -> None:
    """Check a metric: its values are numbers, and no evaluation changes another, or the arrays that it is given.

    Without `inputs` it must also be better for a picture nearer to the reference, and refuse unequal sizes.

    Args:
        target: a class (made with `options`) or a metric, a `SampleMetric` or a `Metric`.
        inputs: three or more samples, each with the arrays that the metric takes by name, as
            `restore_hub.contracts.Metric` describes them; the value should differ between the samples. By default
            random pictures, for a metric that takes a picture and its reference.
        options: options of the class.

    Raises:
        AssertionError: what failed.
    """
    metric, name = made(target, options)
    higher = getattr(metric, "higher_is_better", None)
    require(isinstance(higher, bool), f"{name}.higher_is_better is {higher!r}, not a bool")
    whole = hasattr(metric, "update") and hasattr(metric, "compute")
    half = hasattr(metric, "update") != hasattr(metric, "compute")
    require(whole or (callable(metric) and not half), f"{name} needs both `update` and `compute`, or `__call__`")
    samples = _pictures(name, metric) if inputs is None else list(inputs)
    require(len(samples) >= 3, f"{name}: give the check at least three samples")
    if not whole:
        _number(name, copy.deepcopy(metric)(**copy.deepcopy(samples[0])))
    given = copy.deepcopy(samples)
    _value(name, metric, given)
    pairs = zip(given, samples, strict=True)
    same = all(np.array_equal(changed[key], array) for changed, sample in pairs for key, array in sample.items())
    require(same, f"{name} changes the arrays that it is given")
    _check_state(name, metric, samples)


def _check_state(name: str, metric: Any, samples: Sequence[Sample]) -> None:
    """Evaluate several sets of samples, one after another, in the other order, and interleaved."""
    sets = [[*samples[:left_out], *samples[left_out + 1 :]] for left_out in range(len(samples))] + [list(samples)]
    values = [_value(name, metric, each) for each in sets]
    again = [_value(name, metric, each) for each in sets[::-1]][::-1]
    leaks = f"{name} keeps state from one evaluation to the next, so the same samples give"
    for before, after in zip(values, again, strict=True):
        require(_equal(before, after), f"{leaks} {before}, then {after}; keep it in the instance, not in the class")
    running = [begin(metric) for _ in sets]
    for place in range(len(samples)):
        for own, each in zip(running, sets, strict=True):
            _update(name, own, each[place : place + 1])
    for before, own in zip(values, running, strict=True):
        after = float(own.compute())
        require(_equal(before, after), f"{name}: copies share state; beside others, one gives {after}, not {before}")
    one, other = (_update(name, begin(metric), order) for order in (samples, samples[::-1]))
    if isinstance(one, SampleMean) and isinstance(other, SampleMean):
        for before, after in zip(one.values, other.values[::-1], strict=True):
            require(_equal(before, after), f"{name} depends on earlier samples: {before}, in another order {after}")


def _equal(one: float, other: float) -> bool:
    return bool(np.isclose(one, other, rtol=1e-6, atol=0))


def _update(name: str, metric: Any, samples: Sequence[Sample]) -> Any:
    for sample in samples:
        result = metric.update(**sample)
        require(result is None, f"{name}.update returns {type(result).__name__}; return the value from `compute`")
    return metric


def _value(name: str, metric: Any, samples: Sequence[Sample]) -> float:
    """Return what an evaluation gives."""
    return _number(name, _update(name, begin(metric), samples).compute())


def _number(name: str, value: Any) -> float:
    require(isinstance(value, float) and not math.isnan(value), f"{name} returns {value!r}, not a float")
    return float(value)


def _pictures(name: str, metric: Any) -> list[Sample]:
    """Compare pictures with a reference, and return such pairs."""
    takes = [parameter.name for parameter in tensors_of(metric) if parameter.default is parameter.empty]
    require(len(takes) == 2, f"{name} takes {', '.join(takes) or 'nothing by name'}; pass `inputs` to the check")

    def sample(noise: float, seed: int = 0, rows: int = 32) -> Sample:
        rng = np.random.default_rng(seed)
        target, noises = rng.random((32, 40, 3)), rng.normal(size=(32, 40, 3))
        pictures = (np.round(np.clip(p, 0, 1) * 255) / 255 for p in ((target + noise * noises)[:rows], target))
        return dict(zip(takes, pictures, strict=True))

    try:
        values = [_value(name, metric, [sample(noise)]) for noise in (0.0, 0.02, 0.2)]
    except RestoreHubError as error:
        raise AssertionError(f"{name} refuses random pictures ({error}); pass `inputs` to the check") from error
    require(all(map(math.isfinite, values[1:])), f"{name} is not finite on unequal pictures: {values}")
    better = sorted(values, reverse=metric.higher_is_better)
    require(values == better, f"{name}: {values} for equal, near and far pictures")
    try:
        _value(name, metric, [sample(0.02, rows=31)])
    except RestoreHubError:
        return [sample(noise, seed) for seed, noise in enumerate(NOISES)]
    raise AssertionError(f"{name} compares pictures of different sizes; raise a RestoreHubError instead")
