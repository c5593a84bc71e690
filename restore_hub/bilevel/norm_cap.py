"""The bound on a response's norm: a factor times the running median of the norms seen so far."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from statistics import median_low

WINDOW = 64
ENOUGH = 8


def new_history(norms: Iterable[float] = ()) -> deque[float]:
    """Return a history that holds the last WINDOW norms."""
    return deque(norms, maxlen=WINDOW)


def limit(history: deque[float], factor: float) -> float:
    """Return factor * median(history), or infinity while fewer than ENOUGH norms are recorded."""
    return factor * median_low(history) if len(history) >= ENOUGH else math.inf


def record(history: deque[float], norm: float) -> None:
    """Enter one more norm, for which the oldest leaves.

    The norm is the one before the cap, so that a lasting change of scale is accepted once it fills half the window.
    An exact zero is left out, because a level without a response says nothing about its scale.
    """
    if norm > 0:
        history.append(norm)
