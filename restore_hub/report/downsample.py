"""Fewer points for a curve, with its spikes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

LIMIT = 800


def thin(values: NDArray[np.float64], limit: int = LIMIT) -> NDArray[np.intp]:
    """Return the indices of at most `limit` values to draw, in order.

    The values are split into bins of equal length, and of each the smallest and the largest stay, so that no spike is
    lost; so do the first and the last.

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
