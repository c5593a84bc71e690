"""The stored values of one colour of a mosaic: as a signal, where they clip, and how far apart they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from restore_hub.photo.raw.mosaic import RawImage, planes
from restore_hub_raw.noise.blocks import Array

_CLIPPED = 16  # this many values at the outermost level, and more than at the next one, were clipped there


def signal_of(raw: RawImage, plane: int) -> Array:
    """Return one colour, 0 at black and 1 at white."""
    black, white = float(raw.black[plane]), float(raw.white[plane])
    return (_values(raw, plane).astype(np.float64) - black) / (white - black)


def clip_limits(raws: Sequence[RawImage], plane: int) -> tuple[float, float]:
    """Return the signals that a plane is clipped at: 0 stored or white, or where values pile up at either end."""
    floor, ceiling = -np.inf, 1.0
    for raw in raws:
        values, counts = np.unique(_values(raw, plane), return_counts=True)
        if len(values) < 2:
            continue
        signals = (values[[0, -1]].astype(np.float64) - raw.black[plane]) / (raw.white[plane] - raw.black[plane])
        if values[0] == 0 or counts[0] > max(counts[1], _CLIPPED):
            floor = max(floor, float(signals[0]))
        if counts[-1] > max(counts[-2], _CLIPPED):
            ceiling = min(ceiling, float(signals[1]))
    return floor, ceiling


def rounding_step(raw: RawImage, plane: int) -> tuple[int, float]:
    """Return the distance between stored values, in levels and as a signal; zeros where it's unknown."""
    values = np.unique(_values(raw, plane))
    if not np.issubdtype(values.dtype, np.integer) or len(values) < 2:
        return 0, 0.0
    level = int(np.gcd.reduce(np.diff(values.astype(np.int64))))
    return level, level / float(raw.white[plane] - raw.black[plane])


def _values(raw: RawImage, plane: int) -> NDArray[np.generic]:
    values: NDArray[np.generic] = planes(raw.mosaic, raw.phase)[plane]
    return values
