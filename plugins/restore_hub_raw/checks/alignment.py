"""How far one picture is shifted against another, even where a short exposure is nearly all noise."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import DataError

SMALLEST_SIDE = 32
_LARGEST = 1024  # pixels a side; larger pictures are reduced before they are transformed
_CONFIDENT = 7.0  # noise and unrelated pictures stay below 6
_BLURRED = 0.25  # pixels of standard error above which a peak is a ridge or a hill, not a point
_BAND = 0.18  # cycles a pixel; far beyond, the colours of a mosaic alias
_LOWEST = 4  # cycles a picture; below, the window, uneven light and a sensor's banding dominate
# Noise under two Hann windows correlates most where they overlap most: mean(w^4) / mean(w^2)^2 for each axis.
_AT_CENTRE = (35 / 18) ** 2
_MODEL_ERROR = 0.05  # share of a signal that isn't a shifted copy: aliasing, clipping, what left the picture
_STEP = 0.05  # pixels of the grid on which the peak is found
_TILE, _TILE_REACH = 384, 16  # side of the parts that are aligned alone, and how far they may be off

Spectrum = NDArray[np.complex128]


@dataclass(frozen=True, slots=True)
class Shift:
    """A translation: what is at (y, x) in the reference is at (y + dy, x + dx) in the other picture.

    Attributes:
        dy, dx: pixels.
        confidence: height of the correlation's peak in standard deviations of its surroundings.
        error: standard error in pixels that noise causes.
        spread: largest distance in pixels between the shifts of a part and of the whole, for large pictures;
            rotation, distortion and parallax show here.
    """

    dy: float
    dx: float
    confidence: float
    error: float
    spread: float = 0.0

    @property
    def reliable(self) -> bool:
        """Whether the pictures determine the shift; noise, flat and unrelated pictures don't."""
        return self.confidence >= _CONFIDENT and self.error <= _BLURRED

    @property
    def length(self) -> float:
        """Distance in pixels."""
        return math.hypot(self.dy, self.dx)


def estimate_shift(reference: NDArray[Any], moved: NDArray[Any]) -> Shift:
    """Estimate the translation between two pictures (H, W) of one scene; brightness and contrast may differ.

    Phase correlation (Kuglin & Hines 1975), each frequency weighted by its signal-to-noise ratio (the generalised
    correlation of Knapp & Carter, IEEE Trans. ASSP 1976); the peak is found on a fine grid by a matrix-multiply
    Fourier transform (Guizar-Sicairos et al., Optics Letters 2008). It finds shifts up to 0.3 of the picture.
    Pictures above 1024 pixels a side are reduced first, and their parts aligned in full.

    Args:
        reference: the picture with less noise.
        moved: the other one.

    Raises:
        DataError: sizes differ, or a side is below 32.
    """
    if reference.shape != moved.shape or reference.ndim != 2 or min(reference.shape) < SMALLEST_SIDE:
        raise DataError("raw-check.cannot-align", size=reference.shape, other_size=moved.shape, smallest=SMALLEST_SIDE)
    factor = math.ceil(max(reference.shape) / _LARGEST)
    small = [_reduced(picture, factor) for picture in (reference, moved)]
    found = _register(small[0], small[1], [0.3 * n for n in small[0].shape])
    whole = replace(found, dy=factor * found.dy, dx=factor * found.dx, error=factor * found.error)
    return replace(whole, spread=_spread(reference, moved, whole)) if found.reliable else whole


def _spread(reference: NDArray[Any], moved: NDArray[Any], whole: Shift) -> float:
    """Return the largest distance in pixels between the shift of the whole and a reliable one of a part."""
    dy, dx = round(whole.dy), round(whole.dx)
    one, other = _overlap(reference, moved, dy, dx)
    starts: list[list[int]] = []
    for size in one.shape:
        count = min(3, size // _TILE)
        starts.append([step * (size - _TILE) // (count - 1) for step in range(count)] if count > 1 else [])
    distances = [0.0]
    for top, left in itertools.product(*starts):
        cut = np.s_[top : top + _TILE, left : left + _TILE]
        part = _register(one[cut], other[cut], [_TILE_REACH] * 2)
        if part.reliable:
            distances.append(math.hypot(part.dy + dy - whole.dy, part.dx + dx - whole.dx))
    return max(distances)


def _register(reference: NDArray[Any], moved: NDArray[Any], reach: list[float]) -> Shift:
    """Correlate twice, the second time only what both pictures show, so that the window weighs the same content."""
    first = _correlate(reference, moved, reach)
    dy, dx = round(first.dy), round(first.dx)
    one, other = _overlap(reference, moved, dy, dx)
    if not (dy or dx) or min(one.shape) < SMALLEST_SIDE:
        return first
    second = _correlate(one, other, [2.0, 2.0])
    return replace(second, dy=second.dy + dy, dx=second.dx + dx)


def _overlap(reference: NDArray[Any], moved: NDArray[Any], dy: int, dx: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Cut out what both show, where `moved` is shifted by whole pixels."""
    height, width = reference.shape
    one = reference[max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
    return one, moved[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)]


def _correlate(reference: NDArray[Any], moved: NDArray[Any], reach: list[float]) -> Shift:
    """Find the peak of `c(d) = sum_f Re(C(f) exp(2 pi i f d))` over shifts d of at most `reach`.

    `C = conj(A) B W / (N + e |A'| |B|)`: A and B are the spectra, A' is A with the power of B's signal, N is the
    power of B's noise, e the share that isn't a shifted copy, W a low-pass. This is the phase alone where the
    signal is strong, and the matched filter where the noise is.
    """
    fy, fx = np.fft.fftfreq(len(reference))[:, None], np.fft.fftfreq(reference.shape[1])[None]
    cross = _weighted(_spectrum(reference), _spectrum(moved), fy, fx)
    surface = np.fft.ifft2(cross).real
    places = [n * np.fft.fftfreq(n) for n in surface.shape]
    rows, columns = (np.flatnonzero(np.abs(p) <= most) for p, most in zip(places, reach, strict=True))
    near = surface[np.ix_(rows, columns)]
    row, column = np.unravel_index(np.argmax(near), near.shape)
    steps = np.arange(-1, 1 + _STEP / 2, _STEP)
    y, x = places[0][rows[row]] + steps, places[1][columns[column]] + steps
    fine = (np.exp(2j * np.pi * y[:, None] * fy.T) @ cross @ np.exp(2j * np.pi * fx.T * x)).real / cross.size
    row, column = np.unravel_index(np.argmax(fine), fine.shape)
    dy = float(y[row]) + _STEP * _vertex(fine[:, column], int(row))
    dx = float(x[column]) + _STEP * _vertex(fine[row], int(column))
    deviation = math.sqrt(_AT_CENTRE * float((np.abs(cross) ** 2).sum())) / cross.size  # by Parseval
    confidence = float(fine[row, column]) / deviation if deviation > 0 else 0.0
    return Shift(dy, dx, confidence, _error(cross, fy, fx, dy, dx))


def _spectrum(picture: NDArray[Any]) -> Spectrum:
    """Transform a picture minus its mean under a Hann window."""
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in picture.shape))
    mean = (picture * window).sum() / window.sum()
    return np.asarray(np.fft.fft2((picture - mean) * window))


def _weighted(a: Spectrum, b: Spectrum, fy: NDArray[Any], fx: NDArray[Any]) -> Spectrum:
    """Return C of `_correlate`."""
    square = fy**2 + fx**2
    power = np.abs(b) ** 2
    noise = float(np.median(power[square > 0.16])) / math.log(2)  # noise power is exponentially distributed
    scale = max(float((power - noise).sum()), 0.0) / max(float((np.abs(a) ** 2).sum()), 1e-300)
    weight = np.exp(-square / (2 * _BAND**2))
    weight *= (np.abs(fy) * len(a) >= _LOWEST) & (np.abs(fx) * a.shape[1] >= _LOWEST)
    return np.asarray(a.conj() * b * weight / (noise + _MODEL_ERROR * math.sqrt(scale) * np.abs(a * b) + 1e-300))


def _vertex(values: NDArray[Any], at: int) -> float:
    """Return where the parabola through a maximum and its neighbours peaks, in steps from `at`."""
    if not 0 < at < len(values) - 1:
        return 0.0
    left, middle, right = (float(v) for v in values[at - 1 : at + 2])
    bend = left - 2 * middle + right
    return 0.5 * (left - right) / bend if bend < 0 else 0.0


def _error(cross: Spectrum, fy: NDArray[Any], fx: NDArray[Any], dy: float, dx: float) -> float:
    """Return the standard error of a peak in its worst direction, in pixels: the root of |H^-1 G H^-1|.

    H is the peak's curvature, G the covariance of the gradient that noise adds to the surface.
    """
    turned = (cross * np.exp(2j * np.pi * (fy * dy + fx * dx))).real
    power = _AT_CENTRE * np.abs(cross) ** 2
    axes = (2 * np.pi * fy, 2 * np.pi * fx)
    H, G = (np.array([[(v * i * j).sum() for i in axes] for j in axes]) for v in (turned, power))
    if np.linalg.eigvalsh(H)[0] <= 1e-9 * np.abs(cross).sum():
        return math.inf
    inverse = np.linalg.inv(H)
    return math.sqrt(float(np.linalg.norm(inverse @ G @ inverse, 2)))


def _reduced(picture: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return the means of `factor` x `factor` blocks."""
    height, width = (n // factor for n in picture.shape)
    blocks = picture[: height * factor, : width * factor].reshape(height, factor, width, factor)
    return np.asarray(blocks.mean(axis=(1, 3)))
