"""Turns an exported float32 file into an int8 one, published only when it loses no more PSNR than its budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import ExportError
from restore_hub.evaluate.scores import Scores
from restore_hub.export.gate import make_probe, opset_of, save, trials
from restore_hub.export.int8_graph import SCHEME, to_int8
from restore_hub.export.tile_check import retry_tiling
from restore_hub.export.written import written
from restore_hub.model.manifest import QUANTISED_VERSION, Manifest, Quantisation
from restore_hub.model.memory_use import measure_memory
from restore_hub.model.model import Model, load
from restore_hub.model.run_time import compare_run_times

PSNR = "PSNR of int8"  # a metric's name that no spec can have

# Integers are the same on every CPU (see `int8_graph`). But where float32 becomes uint8, a value on the edge may round
# the other way elsewhere: one step of one value among thousands. This is a few such steps.
TOLERANCE = 1e-3


def export_int8(
    source: Path,
    path: Path,
    *,
    calibration: Iterator[Mapping[str, NDArray[Any]]],
    score: Callable[[Model], Scores],
    budget: float,
) -> Manifest:
    """Quantise an exported file, measure what that costs and gains, and write it if it keeps the budget.

    Args:
        source: the float32 file.
        path: where the int8 file goes; it appears there only when it passed.
        calibration: inputs, picture by picture, that the ranges of values are taken from.
        score: measures a file on held-out pictures: by `PSNR` in dB, always finite, and by the spec's metrics.
        budget: largest loss of mean PSNR, in dB.

    Raises:
        ExportError: nothing to quantise, a larger loss, or the file can't be written.
    """
    given = load(source)
    with written(path) as temporary:
        return _write(given, temporary, path, calibration, score, budget)


def _write(
    given: Model,
    temporary: Path,
    path: Path,
    calibration: Iterator[Mapping[str, NDArray[Any]]],
    score: Callable[[Model], Scores],
    budget: float,
) -> Manifest:
    quantised = to_int8(given.path, calibration)
    model = quantised.model
    save(model, given.manifest, temporary)
    made = load(temporary)
    before, after = score(given), score(made)
    losses = list(before.above(after, PSNR).values())
    loss, worst = float(np.mean(losses)), max(losses)
    if not loss <= budget:
        raise ExportError(
            "export.int8-loses-too-much",
            path,
            loss=loss,
            before=before.means[PSNR],
            after=after.means[PSNR],
            worst=worst,
            pictures=len(losses),
            budget=budget,
        )
    record = Quantisation(
        scheme=SCHEME,
        convolutions=quantised.convolutions,
        calibration=quantised.pictures,
        measured=len(losses),
        psnr_loss=loss,
        worst_loss=worst,
        budget=budget,
        speed=compare_run_times(temporary, given.path),
    )
    metrics = {name: mean for name, mean in after.means.items() if name != PSNR}
    manifest = _manifest(given, made, path, record, metrics).model_copy(update={"opset": opset_of(model)})
    save(model, manifest, temporary)
    load(temporary).verify()
    return manifest


def _manifest(given: Model, made: Model, path: Path, record: Quantisation, metrics: Mapping[str, float]) -> Manifest:
    """Return the manifest of the int8 file: the float32 file's, with what was measured anew."""
    own = {
        "version": QUANTISED_VERSION,
        "parity": given.manifest.parity + _difference(given, made, path),
        "probe": make_probe(given.manifest.inputs, made.outputs, TOLERANCE),
        "tiling": retry_tiling(given.manifest.tiling, made),
        "memory": measure_memory(made.path),
        "metrics": metrics,
        "quantisation": record,
    }
    return given.manifest.model_copy(update=own)


def _difference(given: Model, made: Model, path: Path) -> float:
    """Return the largest difference of two files over odd sizes and all phases.

    Raises:
        ExportError: they give pictures of different sizes, or values that aren't finite.
    """
    worst = 0.0
    for size, feeds in trials(given.manifest.inputs):
        one, other = given(feeds), made(feeds)
        if one.shape != other.shape or not np.isfinite(other).all():
            raise ExportError("export.int8-not-usable", path, size=size, shape=other.shape, expected=one.shape)
        worst = max(worst, float(np.abs(one - other).max()))
    return worst
