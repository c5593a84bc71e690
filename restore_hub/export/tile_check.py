"""Whether tiles of a file give what the whole picture gives, found by running both."""

from __future__ import annotations

import math

import numpy as np

from restore_hub.model.manifest import Tiling
from restore_hub.model.model import Model, probe_feeds
from restore_hub.model.tiled import run

EXACT = 1e-4
APPROXIMATE = 8 / 255  # beyond that, tiles give another picture
ODD = (37, 53)


def try_tiling(model: Model, margin: int, align: int, *, bounded: bool) -> Tiling:
    """Return what tiles with a margin turn out to be, by their largest difference from the whole.

    Args:
        model: the file; it runs a picture whole and in tiles, at two CFA phases.
        margin, align: of the tiles, as in `Tiling`; the margin is a multiple of the alignment.
        bounded: no value looks farther than the margin. Otherwise tiles are approximate at best.
    """
    return _judged(model, Tiling(kind="approximate", margin=margin, align=align), exact=bounded)


def retry_tiling(tiling: Tiling, model: Model) -> Tiling:
    """Return how a file may be cut, tried anew; its graph is that of `tiling` with other numbers in it."""
    tried = tiling.kind != "none" or tiling.error > 0
    return _judged(model, tiling, exact=tiling.kind == "exact") if tried else tiling


def _judged(model: Model, tried: Tiling, *, exact: bool) -> Tiling:
    """Return what tiles are, `exact` at best, by how far they are from the whole."""
    error = _error(_with(model, tried), tried)
    if exact and error <= EXACT:
        return tried.model_copy(update={"kind": "exact", "error": error})
    if error <= APPROXIMATE:
        return tried.model_copy(update={"kind": "approximate", "error": error})
    # JSON has no number for a distance that isn't finite.
    return tried.model_copy(update={"kind": "none", "error": error}) if math.isfinite(error) else Tiling(kind="none")


def _error(model: Model, tiling: Tiling) -> float:
    """Return the largest difference between tiles and the whole, on a picture that no inner tile reads in full."""
    core = max(tiling.margin, tiling.align)
    height, width = (4 * core + odd for odd in ODD)
    inputs = model.manifest.inputs
    phases = [(0, 0), (1, 1)] if any(info.name == "phase" for info in inputs) else [(0, 0)]
    worst = 0.0
    for seed, phase in enumerate(phases):
        feeds = probe_feeds(inputs, seed, height, width, phase)
        for info in inputs:
            if info.is_spatial:  # darker to one side, so that a network which looks at the whole differs
                feeds[info.name] *= np.linspace(0.05, 1, width, dtype=np.float32)
        whole, _ = run(model, feeds, 0)
        cut, _ = run(model, feeds, core)
        worst = max(worst, float(np.abs(whole - cut).max()))
    return worst


def _with(model: Model, tiling: Tiling) -> Model:
    return model.with_manifest(model.manifest.model_copy(update={"tiling": tiling}))
