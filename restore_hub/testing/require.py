"""Helpers that all checks share."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def require(condition: bool, message: str) -> None:
    """Raise `AssertionError` unless the condition holds, under `python -O` too."""
    if not condition:
        raise AssertionError(message)


def made(target: Any, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the object to check (an instance as it is, a class made with its options), and its name for messages."""
    checked = target(**options) if inspect.isclass(target) else target
    return checked, type(checked).__name__


def finite(x: Tensor | None) -> bool:
    """Whether there is a tensor, without infinities or NaN."""
    return x is not None and bool(torch.isfinite(x).all())


def difference_of(x: Tensor, y: Tensor) -> float:
    """Return the largest difference, relative to values above one."""
    if not x.numel():
        return 0.0
    return float((x.double() - y.double()).abs().max()) / max(1.0, float(y.abs().max()))
