"""Whether a run has lost much of what it had reached on the holdout."""

from __future__ import annotations

LOST = 0.25  # of the best value, where higher is better
GROWN = 2.0  # times the best value, where lower is better


def fell(value: float, best: float | None, higher_is_better: bool) -> bool:
    """Return whether a metric fell off a cliff: far below its best value so far, as after a step that diverged.

    Ordinary ups and downs are some hundredths of the best value: from 24 dB to 23.5 is one, and to 14 is a cliff.

    Args:
        value: now; NaN has fallen.
        best: so far, if there is one.
        higher_is_better: of the metric.
    """
    if best is None:
        return False
    if higher_is_better:
        return not (value >= best or value >= best - LOST * abs(best))
    return not (value <= best or value <= max(GROWN * best, best + LOST * abs(best)))
