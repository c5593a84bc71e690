"""The bound on a response's norm: a factor times the running median of past norms."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from statistics import median_low

WINDOW = 64
ENOUGH = 8


def new_history(norms: Iterable[float] = ()) -> deque[float]:
    """Return a history of the last `WINDOW` norms."""
    return deque(norms, maxlen=WINDOW)


def limit(history: deque[float], factor: float) -> float:
    """Return factor * median(history), or infinity with fewer than `ENOUGH` norms."""
    return factor * median_low(history) if len(history) >= ENOUGH else math.inf


def record(history: deque[float], norm: float) -> None:
    """Add a norm, in place of the oldest once the window is full.

    Pass the norm before the cap, so that a lasting change of scale passes once it fills half the window. An exact zero
    is left out, because it says nothing about the scale of a response.
    """
    if norm > 0:
        history.append(norm)
