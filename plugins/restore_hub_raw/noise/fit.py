"""Fits a noise model to the flat blocks of a plane, most of whose blocks may hold texture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restore_hub_raw.noise.blocks import Array, Blocks
from restore_hub_raw.noise.model import NoiseModel

# These numbers were chosen by measurement on photos with known noise added.
_BIN, _MOST_BINS = 48, 40  # blocks a bin, bins
_LEAST_BLOCKS, _LEAST_BINS = 8, 3  # with fewer there's no result
_HEADROOM = 3.0  # standard deviations to the clipping level; nearer, the variance is more than 0.3 % too small
_ZERO = 1e-12  # variances below count as 0
_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted model.

    Attributes:
        model: the numbers.
        shot_error, read_error: their standard errors.
        samples: RAW values in the blocks used.
        flat: share of the unclipped blocks that count as flat, 0 to 1.
        span: darkest and brightest signal used.
    """

    model: NoiseModel
    shot_error: float
    read_error: float
    samples: int
    flat: float
    span: tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Points:
    """Signal and variance of bins, and the relative standard error of the latter; all (bins,)."""

    x: Array
    y: Array
    relative: Array


def fit(blocks: Blocks) -> Fit | None:
    """Fit a model; `None` where too few blocks are flat.

    Blocks are sorted into bins of similar signal. Two steps alternate: weighted least squares with numbers >= 0
    fits the model to the mean noise energy of each bin, and the model decides which blocks are flat and unclipped.
    The first round uses all unclipped blocks; where it counts texture as noise, the model comes down round by round.
    """
    inside = np.flatnonzero(blocks.headroom > 0)
    if len(inside) < _BIN * _LEAST_BINS:
        return None
    order = inside[np.argsort(blocks.mean[inside])]
    bins = np.array_split(order, min(len(order) // _BIN, _MOST_BINS))
    accepted = blocks.headroom > _HEADROOM * np.sqrt(np.maximum(blocks.texture, blocks.noise))
    model: Array | None = None
    for _ in range(_ROUNDS):
        flat = [chosen for b in bins if len(chosen := b[accepted[b]]) >= _LEAST_BLOCKS]
        if len(flat) < _LEAST_BINS:
            return None
        points, before = _points(blocks, flat), model
        model, errors = _least_squares(points, model)
        if before is not None and np.allclose(model, before, rtol=1e-3, atol=_ZERO):
            break
        accepted = _accepted(blocks, model)
    assert model is not None
    shot, read = (float(value) if value > _ZERO else 0.0 for value in model)
    count = sum(map(len, flat))
    return Fit(
        model=NoiseModel(shot, read),
        shot_error=float(errors[0]),
        read_error=float(errors[1]),
        samples=count * blocks.samples,
        flat=count / len(order),
        span=(float(points.x.min()), float(points.x.max())),
    )


def _accepted(blocks: Blocks, model: Array) -> NDArray[np.bool_]:
    """Return which blocks are flat and unclipped according to a model."""
    variance = _variance(model, blocks.mean)
    plain = blocks.texture <= _chi_square(blocks.texture_terms, blocks.tolerance) * variance
    return np.asarray(plain & (blocks.headroom > _HEADROOM * np.sqrt(variance)))


def _points(blocks: Blocks, flat: Sequence[NDArray[np.intp]]) -> _Points:
    return _Points(
        x=np.array([blocks.mean[b].mean() for b in flat]),
        y=np.array([blocks.noise[b].mean() for b in flat]),
        # A chi-square over its mean has the variance 2 / terms.
        relative=np.array([math.sqrt(2 / blocks.noise_terms / len(b)) for b in flat]),
    )


def _least_squares(points: _Points, start: Array | None) -> tuple[Array, Array]:
    """Return shot and read, both >= 0, and their standard errors; weights follow from the model itself."""
    both = np.stack([points.x, np.ones_like(points.x)], axis=1)
    model = _solve(both, points.y, 1 / (points.relative * np.maximum(points.y, _ZERO))) if start is None else start
    for _ in range(_ROUNDS):
        weight = 1 / (points.relative * _variance(model, points.x))
        model = _solve(both, points.y, weight)
    scaled = both * weight[:, None]
    residual = scaled @ model - points.y * weight
    # Bins that scatter more than their errors allow, because of texture for instance, widen the model's errors.
    spread = max(1.0, float(residual @ residual) / (len(residual) - 2))
    covariance = np.linalg.pinv(scaled.T @ scaled, rcond=1e-20) * spread
    return model, np.sqrt(np.maximum(np.diag(covariance), 0))


def _solve(columns: Array, y: Array, weight: Array) -> Array:
    """Solve weighted least squares for two unknowns >= 0: the free solution, or the better of those with a zero."""
    a, y = columns * weight[:, None], y * weight
    free = np.asarray(np.linalg.lstsq(a, y, rcond=None)[0])
    if (free >= 0).all():
        return free
    ends = [np.zeros(2), np.zeros(2)]
    for k, end in enumerate(ends):
        end[k] = max(float(a[:, k] @ y) / float(a[:, k] @ a[:, k]), 0.0)
    return min(ends, key=lambda end: float(((a @ end - y) ** 2).sum()))


def _variance(model: Array, x: Array) -> Array:
    return np.asarray(np.maximum(model[0] * np.maximum(x, 0.0) + model[1], _ZERO))


def _chi_square(terms: int, deviations: float) -> float:
    """Return the chi-square quantile, over its mean, at so many normal deviations (Wilson and Hilferty 1931)."""
    return (1 - 2 / (9 * terms) + deviations * math.sqrt(2 / (9 * terms))) ** 3
