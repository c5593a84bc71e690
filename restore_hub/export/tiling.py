"""How a module's file may be cut into tiles: by its receptive field, then by trying."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from restore_hub.export.deploy import Deployed
from restore_hub.export.receptive_field import receptive_field
from restore_hub.export.tile_check import try_tiling
from restore_hub.model.manifest import TensorInfo, Tiling
from restore_hub.model.model import Model

WIDE = 256  # margin tried where the receptive field has no end


def find_tiling(module: Deployed, model: Model) -> Tiling:
    """Return how the file `model`, exported from `module`, may be cut.

    The module tells the receptive field. How far tiles of the file then differ from the whole decides, so nothing is
    claimed that wasn't seen.
    """
    if not all(_is_picture(info) or info.is_number or info.default is not None for info in module.inputs):
        return Tiling(kind="none")
    if not _is_picture(module.outputs[0]):
        return Tiling(kind="none")
    align = math.lcm(module.size_multiple, 2)  # tiles of a mosaic keep its phase
    found = receptive_field(lambda picture: _run(module, picture), _channels(module), align)
    margin = -(-(WIDE if found is None else found) // align) * align
    return try_tiling(model, margin, align, bounded=found is not None)


def _channels(module: Deployed) -> int:
    return sum(int(info.shape[1]) for info in module.inputs if info.is_spatial)


def _is_picture(info: TensorInfo) -> bool:
    return info.shape[2:] == ["height", "width"] and info.dtype == "float32" and info.scale == 1.0


def _run(module: Deployed, picture: Tensor) -> Tensor:
    """Run the module on (1, C, H, W), whose channels go to its inputs in order."""
    inputs, first = [], 0
    for info in module.inputs:
        if info.is_spatial:
            count = int(info.shape[1])
            inputs.append(picture[:, first : first + count])
            first += count
        else:
            middle = [((info.low or 0.0) + (info.high or 0.0)) / 2]
            inputs.append(torch.tensor(info.default or middle, dtype=getattr(torch, info.dtype)))
    return module.run(inputs)[module.outputs[0].name]
