"""An exported float32 file to an int8 one beside it, published only when it keeps a budget of PSNR."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import ExportError
from restore_hub.export.gate import make_probe, opset_of, publishing, save, trials
from restore_hub.export.qdq import SCHEME, to_int8
from restore_hub.export.tiling import retry_tiling
from restore_hub.model.manifest import QUANTISED_VERSION, Manifest, Quantisation
from restore_hub.model.memory_use import measure_memory
from restore_hub.model.model import Model, load
from restore_hub.model.run_time import compare_run_times

# Integers are the same on every CPU (see `qdq`). Where float32 becomes uint8 a value on the edge may fall to the other
# side elsewhere, which is a step of one value among thousands; this is some steps less than what it would hide.
TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Scores:
    """How good a file is on pictures with a reference: the PSNR in dB of each, and means of metrics."""

    psnr: tuple[float, ...]
    metrics: Mapping[str, float]


def export_int8(
    source: Path,
    path: Path,
    *,
    calibration: Iterator[Mapping[str, NDArray[Any]]],
    score: Callable[[Model], Scores],
    budget: float,
) -> Manifest:
    """Quantise an exported file, measure what that loses and gains, and publish what keeps the budget.

    Args:
        source: the float32 file.
        path: where the int8 file goes; it appears there only when it passed.
        calibration: feeds of the pictures that the ranges of values are taken from.
        score: measures a file on the pictures that judge it.
        budget: loss of mean PSNR, in dB, that is still published.

    Raises:
        ExportError: nothing to quantise, a larger loss, or the file cannot be written.
    """
    given = load(source)
    try:
        with publishing(path) as temporary:
            return _publish(given, temporary, path.name, calibration, score, budget)
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror or error}") from error


def _publish(
    given: Model,
    temporary: Path,
    name: str,
    calibration: Iterator[Mapping[str, NDArray[Any]]],
    score: Callable[[Model], Scores],
    budget: float,
) -> Manifest:
    quantised = to_int8(given.path, calibration)
    model = quantised.model
    save(model, given.manifest, temporary)
    made = load(temporary)
    before, after = score(given), score(made)
    losses = np.subtract(before.psnr, after.psnr)
    loss, worst = float(losses.mean()), float(losses.max())
    if not loss <= budget:
        raise ExportError(
            f"{name} would lose {loss:.2f} dB of PSNR on the holdout split ({np.mean(before.psnr):.2f} to "
            f"{np.mean(after.psnr):.2f}; {worst:.2f} dB on the worst of {len(losses)} pictures), and the budget "
            f"is {budget:g} dB; it is not published; allow more with --budget, calibrate on more pictures in the "
            "training split, or deploy the float32 file"
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
    manifest = _manifest(given, made, record, after.metrics).model_copy(update={"opset": opset_of(model)})
    save(model, manifest, temporary)
    load(temporary).verify()
    return manifest


def _manifest(given: Model, made: Model, record: Quantisation, metrics: Mapping[str, float]) -> Manifest:
    """Return the manifest of the int8 file: what it shares with the float32 file, and what is its own, measured."""
    own = {
        "version": QUANTISED_VERSION,
        "parity": given.manifest.parity + _difference(given, made),
        "probe": make_probe(given.manifest.inputs, made, TOLERANCE),
        "tiling": retry_tiling(given.manifest.tiling, made),
        "memory": measure_memory(made.path),
        "metrics": metrics,
        "quantisation": record,
    }
    return given.manifest.model_copy(update=own)


def _difference(given: Model, made: Model) -> float:
    """Return the largest difference of two files over odd sizes and all phases.

    Raises:
        ExportError: they give pictures of different sizes, or values that are not finite.
    """
    worst = 0.0
    for where, feeds in trials(given.manifest.inputs):
        one, other = given(feeds), made(feeds)
        if one.shape != other.shape or not np.isfinite(other).all():
            raise ExportError(
                f"{made.path.name}: at {where}, int8 gives {other.shape} where float32 gives "
                f"{one.shape}, or values that are not finite; it is not published; deploy the float32 file"
            )
        worst = max(worst, float(np.abs(one - other).max()))
    return worst
