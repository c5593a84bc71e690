"""Defects of the sensor: hot pixels, found and repaired in the mosaic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.photo.raw.mosaic import RawImage, planes

# A pixel is hot when it exceeds all its neighbours by this many standard deviations of the noise ...
_DEVIATIONS = 10.0
_LEVELS = 10.0  # ... and this many stored levels, since rounding hides the noise of coarse levels ...
_LEAST = 1e-3  # ... and this share of the range from black to white ...
# ... and, counted from black, by this factor. Light cannot: optics spread a point over several pixels of all colours.
_FACTOR = 4.0
_SHARE = 1e-3  # of all differences; fewer aren't noise


def repair_hot_pixels(raw: RawImage) -> RawImage:
    """Return the mosaic with each hot pixel replaced by the median of its eight neighbours of the same colour.

    A pixel is hot when its value above black is more than four times the largest of its 8 neighbours of the same
    colour and its 8 adjacent pixels, and exceeds that largest by ten standard deviations of the noise. A star or a
    specular light is wider than one photosite, so it stays; so do pairs of hot pixels, and the outermost two rows
    and columns. A point of pure red or blue light that is sharper than the sensor looks like a hot pixel, and goes.
    The noise is that of the whole picture, detail included, so in doubt a pixel is kept.
    """
    height, width = raw.mosaic.shape
    if min(height, width) < 5:
        return raw
    signal = _signal(raw)
    centre = signal[2:-2, 2:-2]
    highest = _around(signal, *_NEAR[0]).copy()
    for place in _NEAR[1:] + _SAME:
        np.maximum(highest, _around(signal, *place), out=highest)
    margin = max(_LEAST, _DEVIATIONS * _deviation(signal), _LEVELS * _level(raw))
    hot = (centre > highest + margin) & (centre > _FACTOR * highest)
    rows, columns = np.nonzero(hot)
    if rows.size == 0:
        return raw
    mosaic = raw.mosaic.copy()
    same = np.stack([raw.mosaic[rows + 2 + y, columns + 2 + x] for y, x in _SAME])
    mosaic[rows + 2, columns + 2] = np.median(same, axis=0).astype(mosaic.dtype)
    return replace(raw, mosaic=mosaic, hot_pixels=raw.hot_pixels + int(rows.size))


_NEAR = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x)
_SAME = tuple((2 * y, 2 * x) for y, x in _NEAR)


def _around(signal: NDArray[Any], y: int, x: int) -> NDArray[Any]:
    height, width = signal.shape
    return signal[2 + y : height - 2 + y, 2 + x : width - 2 + x]


def _signal(raw: RawImage) -> NDArray[np.float32]:
    """Return (m - black) / (white - black) on every site, white-balanced to make colours comparable."""
    signal, scale = np.empty(raw.mosaic.shape, np.float32), raw.balance / (raw.white - raw.black)
    stored, made = planes(raw.mosaic, raw.phase), planes(signal, raw.phase)
    for plane in range(4):
        made[plane][...] = (stored[plane] - raw.black[plane]) * scale[plane]
    return signal


def _deviation(signal: NDArray[np.float32]) -> float:
    """Return the standard deviation of the noise, from differences of neighbours of one colour (robustly)."""
    step = max(1, signal.shape[0] // 500)
    differences = np.abs(signal[::step, 2:] - signal[::step, :-2])
    found = differences[differences > 0]  # most are 0 where values are clipped at black or rounded to it
    if found.size < _SHARE * differences.size:
        return 0.0  # these are the hot pixels themselves
    return float(1.4826 * np.median(found) / np.sqrt(2))


def _level(raw: RawImage) -> float:
    """Return the largest step between two stored levels, in the units of the signal; 0 for floats."""
    if raw.mosaic.dtype.kind == "f":
        return 0.0
    return float((raw.balance / (raw.white - raw.black)).max())
