"""What all checks are written with."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def require(condition: bool, message: str) -> None:
    """Raise `AssertionError` where the condition does not hold, also under `python -O`."""
    if not condition:
        raise AssertionError(message)


def made(target: Any, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return what is checked, a class made with its options or an instance as it is, and its name for messages."""
    checked = target(**options) if inspect.isclass(target) else target
    return checked, type(checked).__name__


def finite(x: Tensor | None) -> bool:
    """Whether a tensor is there and has neither infinities nor NaN."""
    return x is not None and bool(torch.isfinite(x).all())


def difference_of(x: Tensor, y: Tensor) -> float:
    """Return the largest difference, relative to values above one."""
    if not x.numel():
        return 0.0
    return float((x.double() - y.double()).abs().max()) / max(1.0, float(y.abs().max()))


def reason_of(error: Exception) -> str:
    """Return an error's type and message on one line, cut to a length that can be read."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
