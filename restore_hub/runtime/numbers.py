"""Numbers that a model takes beside its photograph, such as a noise level: checked, fed, and told of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import DataError, nearest
from restore_hub.model.manifest import TensorInfo
from restore_hub.model.model import Model
from restore_hub.model.sequence import ModelSequence
from restore_hub.port import admits


class Used(NamedTuple):
    """A number that a file of a sequence ran with, and whether it was given or is the file's default."""

    model: Model
    name: str
    value: float
    source: str


def as_numbers(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return numbers of any library, such as NumPy's, as Python's; whatever isn't a number as it is."""
    return {name: float(value) if _is_number(value) else value for name, value in (given or {}).items()}


def check_numbers(model: ModelSequence, given: Mapping[str, Any]) -> None:
    """Check numbers against what a model takes.

    Raises:
        DataError: an unknown name, something else than a number, one outside the range that a file states, or one that
            is missing and has no default.
    """
    known = list(dict.fromkeys(number.name for _, number in model.numbers))
    for name in given:
        if name not in known:
            where, mend, listed = f"input {name!r}", nearest(name, known), ", ".join(known) or "none"
            raise DataError("restore.unknown-number", where, mend=mend, model=model.path, known=listed)
    for part, number in model.numbers:
        if number.name in given:
            _check(part, number, given[number.name])
        elif number.default is None:
            where, name, wanted = f"input {number.name!r}", number.name, _range(number)
            raise DataError("restore.number-needed", where, model=part.path, name=name, range=wanted)


def feeds_of(model: ModelSequence, given: Mapping[str, float]) -> dict[str, NDArray[Any]]:
    """Return the numbers that were given as the model takes them."""
    types = {number.name: number.dtype for _, number in model.numbers}
    return {name: np.array([value], types[name]) for name, value in given.items()}


def numbers_used(model: ModelSequence, given: Mapping[str, float]) -> list[Used]:
    """Return the numbers that each file runs with."""
    return [
        Used(part, number.name, float(given[number.name]), "given")
        if number.name in given
        else Used(part, number.name, float((number.default or [math.nan])[0]), "default")
        for part, number in model.numbers
    ]


def _check(part: Model, number: TensorInfo, value: Any) -> None:
    good = _is_number(value)
    low = -math.inf if number.low is None else number.low
    high = math.inf if number.high is None else number.high
    if not (good and admits(value, low, high, number.dtype)):
        where = f"input {number.name!r}"
        got = f"{value:g}" if good else repr(value)
        raise DataError("restore.bad-number", where, model=part.path, got=got, range=_range(number))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _range(number: TensorInfo) -> str:
    kind = "a whole number" if number.dtype == "int64" else "a number"
    bounds = ((" from ", number.low), (" to ", number.high))
    return kind + "".join(f"{word}{bound:g}" for word, bound in bounds if bound is not None)
