"""A torch device by name."""

from __future__ import annotations

import torch

from restore_hub.errors import TrainingError


def usable_device(name: str) -> torch.device:
    """Return a device on which a tensor can be made.

    Raises:
        TrainingError: there's no such device here.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except Exception as error:  # torch raises RuntimeError, AssertionError or its own, by backend
        raise TrainingError("train.device-unusable", f"device {name!r}", cause=str(error).splitlines()[0]) from None
    return device
