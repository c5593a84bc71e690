"""How an exported file may be cut into tiles, found by trying: its receptive field, and tiles against the whole."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from restore_hub.export.deploy import Deployed
from restore_hub.export.reach import reach
from restore_hub.model.manifest import Tiling
from restore_hub.model.model import Model, probe_feeds
from restore_hub.model.tiled import run

EXACT = 1e-4
APPROXIMATE = 8 / 255  # beyond that, tiles are another picture
WIDE = 256  # margin tried where the receptive field has no end
ODD = (37, 53)


def find_tiling(module: Deployed, model: Model) -> Tiling:
    """Return how the file `model`, exported from `module`, may be cut.

    The receptive field is that of the module. How far tiles of the file then differ from the whole decides: nothing
    is claimed that was not seen.
    """
    if not all("height" in info.shape or info.default is not None for info in module.inputs):
        return Tiling(kind="none")
    align = math.lcm(module.size_multiple, 2)  # tiles of a mosaic keep its phase
    found = reach(lambda picture: _run(module, picture), _channels(module), align)
    margin = -(-(WIDE if found is None else found) // align) * align
    return try_tiling(model, margin, align, bounded=found is not None)


def try_tiling(model: Model, margin: int, align: int, *, bounded: bool) -> Tiling:
    """Return what tiles of a margin turn out to be, by the largest difference from the whole.

    Args:
        model: the file, which runs a picture whole and in tiles, at two CFA phases.
        margin, align: of the tiles, as in `Tiling`; the margin is a multiple of the alignment.
        bounded: no value looks farther than the margin; without that, tiles are approximate at best.
    """
    return _judged(model, Tiling(kind="approximate", margin=margin, align=align), exact=bounded)


def retry_tiling(tiling: Tiling, model: Model) -> Tiling:
    """Return how a file may be cut whose graph is that of `tiling` with other numbers in it, tried anew."""
    tried = tiling.kind != "none" or tiling.error > 0
    return _judged(model, tiling, exact=tiling.kind == "exact") if tried else tiling


def _judged(model: Model, tried: Tiling, *, exact: bool) -> Tiling:
    """Return what tiles are, `exact` at best, by how far they are from the whole."""
    error = _error(_with(model, tried), tried)
    if exact and error <= EXACT:
        return tried.model_copy(update={"kind": "exact", "error": error})
    if error <= APPROXIMATE:
        return tried.model_copy(update={"kind": "approximate", "error": error})
    # Values that are not finite have no distance, and JSON no number for it.
    return tried.model_copy(update={"kind": "none", "error": error}) if math.isfinite(error) else Tiling(kind="none")


def _error(model: Model, tiling: Tiling) -> float:
    """Return the largest difference between tiles and the whole, on a picture of which no inner tile reads all."""
    core = max(tiling.margin, tiling.align)
    height, width = (4 * core + odd for odd in ODD)
    inputs = model.manifest.inputs
    phases = [(0, 0), (1, 1)] if any(info.name == "phase" for info in inputs) else [(0, 0)]
    worst = 0.0
    for seed, phase in enumerate(phases):
        feeds = probe_feeds(inputs, seed, height, width, phase)
        for info in inputs:
            if "height" in info.shape:  # light falls off to one side, so that what looks at the whole sees a difference
                feeds[info.name] *= np.linspace(0.05, 1, width, dtype=np.float32)
        whole, _ = run(model, feeds, 0)
        cut, _ = run(model, feeds, core)
        worst = max(worst, float(np.abs(whole - cut).max()))
    return worst


def _with(model: Model, tiling: Tiling) -> Model:
    return model.with_manifest(model.manifest.model_copy(update={"tiling": tiling}))


def _channels(module: Deployed) -> int:
    return sum(int(info.shape[1]) for info in module.inputs if "height" in info.shape)


def _run(module: Deployed, picture: Tensor) -> Tensor:
    """Run the module on (1, C, H, W), the channels handed out to its inputs in order."""
    inputs, first = [], 0
    for info in module.inputs:
        if "height" in info.shape:
            count = int(info.shape[1])
            inputs.append(picture[:, first : first + count])
            first += count
        else:
            inputs.append(torch.tensor(info.default, dtype=getattr(torch, info.dtype)))
    return module.run(inputs)
