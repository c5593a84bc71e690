"""RAW preprocessing inside the graph: a mosaic of any CFA phase and size in, packed planes out; and back again."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from restore_hub.model.manifest import TensorInfo
from restore_hub.photo.raw.mosaic import padded, planes, scaled, source_lines

RAW_INPUTS = [
    TensorInfo(
        name="mosaic",
        shape=[1, 1, "height", "width"],
        space="raw",
        low=0.0,
        high=1.0,
        meaning="sensor values as stored, active area, unrotated; with the defaults below: 0 black, 1 white, RGGB",
    ),
    TensorInfo(name="phase", dtype="int64", shape=[2], default=[0, 0], meaning="row and column of red in its 2x2 tile"),
    TensorInfo(name="black", shape=[4], default=[0.0] * 4, meaning="black level of R, Gr, Gb, B"),
    TensorInfo(name="white", shape=[4], default=[1.0] * 4, meaning="white level of R, Gr, Gb, B"),
    TensorInfo(name="balance", shape=[4], default=[1.0] * 4, meaning="white-balance factors of R, Gr, Gb, B"),
    TensorInfo(name="gain", shape=[1], default=[1.0], meaning="exposure gain, such as the exposure ratio of a pair"),
]


def pack(mosaic: Tensor, phase: Tensor, black: Tensor, white: Tensor, balance: Tensor, gain: Tensor) -> Tensor:
    """Return planes R, Gr, Gb, B (1, 4, h, w) of a mosaic (1, 1, H, W), with h = (H + 2) // 2 and w likewise.

    It is `restore_hub.photo.raw.mosaic.pack`, gathered and joined by operations that export with dynamic sizes.
    """
    rows, columns = (
        source_lines(torch.arange(padded(size), device=phase.device), phase[axis], size)
        for axis, size in enumerate(mosaic.shape[2:])
    )
    whole = mosaic.index_select(2, rows).index_select(3, columns)
    packed: Tensor = scaled(torch.cat(planes(whole), dim=1), black, white, balance, gain)
    return packed


def unpack(
    packed: Tensor, mosaic: Tensor, phase: Tensor, black: Tensor, white: Tensor, balance: Tensor, gain: Tensor
) -> Tensor:
    """Return denoised planes (1, 4, h, w) as a mosaic (1, 1, H, W) in the levels of the one that `pack` packed.

    Sites that `pack` clipped keep their own value: what this gain makes too bright isn't lost when the mosaic is
    developed with a lower one.
    """
    given = pack(mosaic, phase, black, white, balance, gain)
    levels = packed / (_channels(balance) * gain) * (_channels(white) - _channels(black)) + _channels(black)
    kept = unpad(F.pixel_shuffle((given >= 1.0).to(levels.dtype), 2), mosaic, phase)
    return torch.where(kept > 0, mosaic, unpad(F.pixel_shuffle(levels, 2), mosaic, phase))


def unpad(picture: Tensor, mosaic: Tensor, phase: Tensor) -> Tensor:
    """Cut a picture made from the planes back to the mosaic's size and place."""
    rows = torch.arange(mosaic.shape[2], device=mosaic.device) + phase[0]
    columns = torch.arange(mosaic.shape[3], device=mosaic.device) + phase[1]
    return picture.index_select(2, rows).index_select(3, columns)


def _channels(values: Tensor) -> Tensor:
    return values.reshape(4, 1, 1)
