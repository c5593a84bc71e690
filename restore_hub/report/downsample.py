"""Fewer points for a curve, without losing its spikes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

LIMIT = 800


def downsample(values: NDArray[np.float64], limit: int = LIMIT) -> NDArray[np.intp]:
    """Return the indices of at most `limit` values to draw, in order.

    Of each of many bins of equal length the smallest and the largest value stay, so no spike is lost. The first and the
    last value stay too.

    Args:
        values: (n), finite.
        limit: at least 4.
    """
    count = len(values)
    if count <= limit:
        return np.arange(count)
    edges = np.linspace(0, count, (limit - 2) // 2 + 1).astype(int)
    kept = {0, count - 1}
    for start, stop in pairwise(edges.tolist()):
        part = values[start:stop]
        kept.update((start + int(part.argmin()), start + int(part.argmax())))
    return np.array(sorted(kept), np.intp)
