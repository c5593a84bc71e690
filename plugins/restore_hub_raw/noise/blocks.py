"""Measures small blocks of a plane: how much texture they hold, and how much noise.

A block of 8 x 8 samples is written in orthonormal polynomials of its rows and columns. Noise spreads evenly over all
coefficients, pictures concentrate in the low degrees. So low degrees tell whether a block is flat and high ones, which
are independent of them for Gaussian noise, measure its noise: selecting flat blocks doesn't bias the measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

SIDE = 8  # of a block, in samples of its plane
# These numbers were chosen by measurement on photos with known noise added.
_LOW, _HIGH = 5, 9  # degrees up to _LOW show texture, those from _HIGH on measure noise
_STILL, _BURST = 0.5, 3.0  # standard deviations that low degrees may exceed their expected energy by: texture, motion

Array = NDArray[np.float64]
_basis = np.linalg.qr(np.vander(np.linspace(-1, 1, SIDE), increasing=True))[0]
_degree = np.add.outer(np.arange(SIDE), np.arange(SIDE))
_low = (_degree > 1) & (_degree <= _LOW)  # any linear signal is allowed
_high = _degree >= _HIGH
_share = (_basis**2 @ _high @ _basis.T**2) / _high.sum()  # of each sample in the energy of the high degrees


@dataclass(frozen=True, slots=True)
class Blocks:
    """Measurements of n blocks; energies are means of squared coefficients, whose expectation is the noise variance.

    Attributes:
        mean: signal, (n,), each sample weighted as in `noise`.
        headroom: distance of the mean to the nearest clipping level, (n,).
        texture: energy of the low degrees, (n,).
        noise: energy of the high degrees, (n,).
        texture_terms, noise_terms: independent coefficients in each.
        samples: RAW values in a block, of all frames together.
        tolerance: standard deviations that `texture` may be too large by.
    """

    mean: Array
    headroom: Array
    texture: Array
    noise: Array
    texture_terms: int
    noise_terms: int
    samples: int
    tolerance: float


def cut(plane: Array) -> Array:
    """Cut (..., H, W) into whole blocks (..., H // 8, W // 8, 8, 8)."""
    *outer, height, width = plane.shape
    rows, columns = height // SIDE, width // SIDE
    whole = plane[..., : rows * SIDE, : columns * SIDE]
    return whole.reshape(*outer, rows, SIDE, columns, SIDE).swapaxes(-3, -2)


def measure(frames: Array, signal: Array, floor: float, ceiling: float) -> Blocks:
    """Measure the blocks of one plane.

    Args:
        frames: (k, H, W), one picture, or how each of k > 1 exposures of a burst differs from the mean of all.
        signal: (H, W), the picture, or the mean of the burst.
        floor, ceiling: signals where values clip; infinite where they don't.
    """
    free = max(len(frames) - 1, 1)  # the mean of a burst takes one
    energy = np.sum([(_basis.T @ cut(frame) @ _basis) ** 2 for frame in frames], axis=0) / free
    mean = (cut(signal) * _share).sum(axis=(-2, -1)).ravel()
    return Blocks(
        mean=mean,
        headroom=np.minimum(mean - floor, ceiling - mean),
        texture=energy[..., _low].mean(-1).ravel(),
        noise=energy[..., _high].mean(-1).ravel(),
        texture_terms=free * int(_low.sum()),
        noise_terms=free * int(_high.sum()),
        samples=len(frames) * SIDE**2,
        tolerance=_STILL if len(frames) == 1 else _BURST,
    )


def join(parts: Sequence[Blocks]) -> Blocks:
    """Put together the blocks of several planes or pictures, all measured from the same number of frames."""
    return replace(
        parts[0],
        mean=np.concatenate([part.mean for part in parts]),
        headroom=np.concatenate([part.headroom for part in parts]),
        texture=np.concatenate([part.texture for part in parts]),
        noise=np.concatenate([part.noise for part in parts]),
    )
