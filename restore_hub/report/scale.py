"""Axes: the place of a value, round values for ticks, and numbers as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_DECADES = 1.5  # curves that span as many get a logarithmic axis


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis from `low` to `high`, both above zero where it is logarithmic."""

    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """Return the place of a value: 0 at `low`, 1 at `high`."""
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return (at - low) / (high - low)

    def ticks(self, count: int = 7) -> list[float]:
        """Return about `count` round values on the axis; powers of ten on a logarithmic one that spans enough."""
        return self._log_ticks(count) if self.log else self._linear_ticks(count)

    def _linear_ticks(self, count: int) -> list[float]:
        span = (self.high - self.low) / count
        unit = 10.0 ** math.floor(math.log10(span))
        step = unit * next(factor for factor in (1, 2, 5, 10) if factor * unit >= span * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(index * step, 12 - math.floor(math.log10(step))) for index in range(first, last + 1)]

    def _log_ticks(self, count: int) -> list[float]:
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        stride = max(1, math.ceil((last - first + 1) / (count + 1)))
        powers = [10.0**exponent for exponent in range(first, last + 1) if exponent % stride == 0]
        if len(powers) >= 3:
            return powers
        between = [m * 10.0**exponent for exponent in range(first - 1, last + 1) for m in (1, 2, 5)]
        return [float(f"{tick:.1g}") for tick in between if self.low * 0.999 <= tick <= self.high * 1.001]


def value_scale(values: Sequence[float]) -> Scale:
    """Return the axis for finite values: logarithmic if none is negative and they span a decade and a half."""
    positive = [value for value in values if value > 0]
    if positive and min(values) >= 0 and math.log10(max(positive) / min(positive)) >= _DECADES:
        return Scale(min(positive) / 1.3, max(positive) * 1.3, log=True)
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return Scale(low - room, high + room)


def number(value: float, digits: int = 4) -> str:
    """Return a value as text with so many significant digits, and an exponent far from 1."""
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "not a number")
    if value and not 1e-4 <= abs(value) < 1e6:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".")
        power = "10" + str(int(exponent)).translate(_SUPERSCRIPT)
        text = power if mantissa == "1" else f"{mantissa}·{power}"
    else:
        text = f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"
    return text.replace("-", "−")
