"""The bound on a response's norm: a factor times the running median of the norms seen so far."""

from __future__ import annotations

import torch
from torch import Tensor

WINDOW = 64
ENOUGH = 8


def new_history(device: torch.device) -> Tensor:
    """Return an empty history: (WINDOW,) float64, NaN where nothing is recorded yet."""
    return torch.full((WINDOW,), torch.nan, dtype=torch.float64, device=device)


def limit(history: Tensor, factor: float) -> Tensor:
    """Return factor * median(history), or infinity while fewer than ENOUGH norms are recorded."""
    enough = history.isnan().logical_not().sum() >= ENOUGH
    return torch.where(enough, factor * history.nanmedian(), torch.inf)


def record(history: Tensor, norm: Tensor) -> Tensor:
    """Return the history with one more norm and without its oldest entry.

    The norm is the one before the cap, so that a lasting change of scale is accepted once it fills half the
    window; an exact zero is entered as NaN, because a level without a response says nothing about its scale.
    """
    entry = torch.where(norm > 0, norm, torch.nan).to(history)
    return torch.cat([history[1:], entry.reshape(1)])
