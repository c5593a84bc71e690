"""What a metric sees of a tensor, and what a person sees of it. Only pictures are clipped, rounded or shown."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.contracts import Port
from restore_hub.photo.colour import srgb_from_linear


def for_metric(array: NDArray[Any], port: Port) -> NDArray[Any]:
    """Return a sample's tensor as a metric sees it.

    A picture (C, H, W) becomes (H, W, C), float64, clipped to [0, 1] and rounded to 8 bits. Anything else stays as it
    is.
    """
    if not port.is_picture:
        return array
    levels = np.round(np.clip(array, 0, 1) * 255).astype(np.float64) / 255
    return np.ascontiguousarray(levels.transpose(1, 2, 0))


def showable(port: Port) -> bool:
    """Whether a tensor can be shown: a grey picture, one with three channels, or packed RAW planes."""
    return port.is_picture and (port.channels in (None, 1, 3) or (port.channels == 4 and port.space == "raw"))


def for_people(array: NDArray[Any], port: Port) -> NDArray[np.uint8] | None:
    """Return a sample's tensor as a picture (H, W, 3) in sRGB; `None` if it isn't one that can be shown.

    One channel is shown as grey, packed RAW planes as R, mean of G, and B. RAW and linear light gets sRGB's curve.
    Each pixel of a smaller one, such as packed planes, is repeated until it has the picture's size.
    """
    if not showable(port):
        return None
    values = np.clip(np.nan_to_num(array), 0, 1)
    if len(values) == 4 and port.space == "raw":
        red, green, other, blue = values
        values = np.stack([red, (green + other) / 2, blue])
    if len(values) not in (1, 3):
        return None
    shown = values if port.space == "srgb" else srgb_from_linear(values)
    levels = np.round(shown * 255).astype(np.uint8).transpose(1, 2, 0)
    size = max(1, round(1 / port.scale))
    return np.broadcast_to(levels, (*levels.shape[:2], 3)).repeat(size, axis=0).repeat(size, axis=1)
