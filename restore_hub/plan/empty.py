"""Batches without values, to find shapes that don't fit before there are any data."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from restore_hub.batch import Value
from restore_hub.contracts import Port
from restore_hub.ragged import Ragged


def empty(port: Port, samples: int, extent: Mapping[str, int]) -> Value:
    """Return a batch of what a port carries, on the meta device.

    Args:
        port: what it carries.
        samples: in the batch.
        extent: size of the picture or volume along `y`, `x` and, where there is one, `z`.
    """
    shape, dtype = port.shape(extent), getattr(torch, port.dtype)
    if not port.ragged:
        return torch.empty(samples, *shape, dtype=dtype, device="meta")
    count, *item = shape
    return Ragged(torch.empty(samples * count, *item, dtype=dtype, device="meta"), (count,) * samples)
