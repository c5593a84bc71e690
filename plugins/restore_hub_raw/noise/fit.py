"""Fits a noise model to small blocks of a plane, most of which may hold texture.

A block of 8 x 8 samples is written in orthonormal polynomials of its rows and columns. Noise spreads evenly over all
coefficients, pictures crowd at the low degrees. Low degrees therefore decide whether a block is flat, and high ones,
which are independent of them where noise is Gaussian, measure its noise: the choice does not bias the measure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from restore_hub_raw.synthesis.sensor_noise import NoiseModel

SIDE = 8  # of a block, in samples of its plane
# All the numbers below were chosen by measurement on photos with known noise added.
_LOW, _HIGH = 5, 9  # degrees up to _LOW show texture, those from _HIGH on measure noise
_STILL, _BURST = 0.5, 3.0  # standard deviations that low degrees may exceed their expected energy by: texture, motion
_BIN, _MOST_BINS = 48, 40  # blocks a bin, bins
_LEAST_BLOCKS, _LEAST_BINS = 8, 3  # below these nothing is concluded
_ROOM = 3.0  # standard deviations to the clipping level; nearer, the variance is more than 0.3 % too small
_NOTHING = 1e-12  # a variance that stands for none
_ROUNDS = 20

Array = NDArray[np.float64]
_basis = np.linalg.qr(np.vander(np.linspace(-1, 1, SIDE), increasing=True))[0]
_degree = np.add.outer(np.arange(SIDE), np.arange(SIDE))
_low = (_degree > 1) & (_degree <= _LOW)  # any linear signal is allowed
_high = _degree >= _HIGH
_share = (_basis**2 @ _high @ _basis.T**2) / _high.sum()  # of each sample in the energy of the high degrees


@dataclass(frozen=True, slots=True)
class Blocks:
    """What is known of n blocks; energies are means of squared coefficients, and expect the noise variance.

    Attributes:
        mean: signal, (n,), each sample weighted as in `noise`.
        room: distance of the mean to the nearest clipping level, (n,).
        texture: energy of the low degrees, (n,).
        noise: energy of the high degrees, (n,).
        texture_terms, noise_terms: independent coefficients in each.
        samples: RAW values in a block, of all frames together.
        patience: standard deviations that `texture` may be too large by.
    """

    mean: Array
    room: Array
    texture: Array
    noise: Array
    texture_terms: int
    noise_terms: int
    samples: int
    patience: float


@dataclass(frozen=True, slots=True)
class Fit:
    """A model that was fitted.

    Attributes:
        model: what was found.
        shot_error, read_error: standard errors of both numbers.
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


def cut(plane: Array) -> Array:
    """Cut (..., H, W) into whole blocks (..., H // 8, W // 8, 8, 8)."""
    *outer, height, width = plane.shape
    rows, columns = height // SIDE, width // SIDE
    whole = plane[..., : rows * SIDE, : columns * SIDE]
    return whole.reshape(*outer, rows, SIDE, columns, SIDE).swapaxes(-3, -2)


def measure(frames: Array, signal: Array, floor: float, ceiling: float) -> Blocks:
    """Measure the blocks of one plane.

    Args:
        frames: (k, H, W), one picture, or what each of k > 1 exposures of a burst differs by from the mean of all.
        signal: (H, W), the picture, or the mean of the burst.
        floor, ceiling: signals where values clip; infinite where they do not.
    """
    free = max(len(frames) - 1, 1)  # the mean of a burst takes one
    energy = np.sum([(_basis.T @ cut(frame) @ _basis) ** 2 for frame in frames], axis=0) / free
    mean = (cut(signal) * _share).sum(axis=(-2, -1)).ravel()
    return Blocks(
        mean=mean,
        room=np.minimum(mean - floor, ceiling - mean),
        texture=energy[..., _low].mean(-1).ravel(),
        noise=energy[..., _high].mean(-1).ravel(),
        texture_terms=free * int(_low.sum()),
        noise_terms=free * int(_high.sum()),
        samples=len(frames) * SIDE**2,
        patience=_STILL if len(frames) == 1 else _BURST,
    )


def join(parts: Sequence[Blocks]) -> Blocks:
    """Put blocks of several planes or pictures together; all were measured from as many frames."""
    return replace(
        parts[0],
        mean=np.concatenate([part.mean for part in parts]),
        room=np.concatenate([part.room for part in parts]),
        texture=np.concatenate([part.texture for part in parts]),
        noise=np.concatenate([part.noise for part in parts]),
    )


def fit(blocks: Blocks) -> Fit | None:
    """Fit a model; `None` where too few blocks are flat.

    Blocks are put in bins of like signal. In turns, the means of each bin's noise energies, as weighted least squares
    with numbers >= 0, give the model, and the model says which blocks are flat and unclipped. All that are not
    clipped begin; where that counts texture as noise, the model comes down from round to round.
    """
    inside = np.flatnonzero(blocks.room > 0)
    if len(inside) < _BIN * _LEAST_BINS:
        return None
    order = inside[np.argsort(blocks.mean[inside])]
    bins = np.array_split(order, min(len(order) // _BIN, _MOST_BINS))
    accepted = blocks.room > _ROOM * np.sqrt(np.maximum(blocks.texture, blocks.noise))
    model: Array | None = None
    for _ in range(_ROUNDS):
        flat = [chosen for b in bins if len(chosen := b[accepted[b]]) >= _LEAST_BLOCKS]
        if len(flat) < _LEAST_BINS:
            return None
        points, before = _points(blocks, flat), model
        model, errors = _least_squares(points, model)
        if before is not None and np.allclose(model, before, rtol=1e-3, atol=_NOTHING):
            break
        accepted = _accepted(blocks, model)
    assert model is not None
    shot, read = (float(value) if value > _NOTHING else 0.0 for value in model)
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
    """Say which blocks are flat and unclipped by a model."""
    variance = _variance(model, blocks.mean)
    plain = blocks.texture <= _chi_square(blocks.texture_terms, blocks.patience) * variance
    return np.asarray(plain & (blocks.room > _ROOM * np.sqrt(variance)))


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
    model = _solve(both, points.y, 1 / (points.relative * np.maximum(points.y, _NOTHING))) if start is None else start
    for _ in range(_ROUNDS):
        weight = 1 / (points.relative * _variance(model, points.x))
        model = _solve(both, points.y, weight)
    scaled = both * weight[:, None]
    rest = scaled @ model - points.y * weight
    # Bins that scatter more than their errors allow, such as by texture, widen the errors of the model.
    spread = max(1.0, float(rest @ rest) / (len(rest) - 2))
    covariance = np.linalg.pinv(scaled.T @ scaled, rcond=1e-20) * spread
    return model, np.sqrt(np.maximum(np.diag(covariance), 0))


def _solve(columns: Array, y: Array, weight: Array) -> Array:
    """Solve weighted least squares with two unknowns >= 0: the free solution, else the better one with a zero."""
    a, y = columns * weight[:, None], y * weight
    free = np.asarray(np.linalg.lstsq(a, y, rcond=None)[0])
    if (free >= 0).all():
        return free
    ends = [np.zeros(2), np.zeros(2)]
    for k, end in enumerate(ends):
        end[k] = max(float(a[:, k] @ y) / float(a[:, k] @ a[:, k]), 0.0)
    return min(ends, key=lambda end: float(((a @ end - y) ** 2).sum()))


def _variance(model: Array, x: Array) -> Array:
    return np.asarray(np.maximum(model[0] * np.maximum(x, 0.0) + model[1], _NOTHING))


def _chi_square(terms: int, deviations: float) -> float:
    """Return a quantile of chi-square over its mean (Wilson and Hilferty 1931), given as one of the normal's."""
    return (1 - 2 / (9 * terms) + deviations * math.sqrt(2 / (9 * terms))) ** 3
