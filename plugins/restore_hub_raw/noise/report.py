"""The table that `data noise` prints."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from restore_hub_raw.noise.fit import Fit
from restore_hub_raw.noise.measure_files import Measurement
from restore_hub_raw.noise.model import PLANES


def noise_table(measured: Measurement) -> str:
    """Return the noise of each plane and of all, next to what the file itself states."""
    return "\n".join(_lines(measured))


def _lines(measured: Measurement) -> Iterator[str]:
    estimate, raw = measured.estimate, measured.raws[0]
    yield measured.title
    head = f"{'plane':5}  {'shot':>19}  {'read':>19}  {'electrons':>9}  {'read levels':>11}"
    yield head if raw.noise is None else f"{head}  {'file: shot':>10} {'ratio':>5}  {'read':>8} {'ratio':>5}"
    ranges = raw.white - raw.black
    for plane, name in enumerate(PLANES):
        stated = None if raw.noise is None else raw.noise[plane]
        yield _row(name, estimate.planes[plane], float(ranges[plane]), stated)
    yield _row("all", estimate.pooled, float(ranges.mean()), None)
    yield f"{estimate.pooled.samples} values from flat blocks, {estimate.pooled.flat:.0%} of those not clipped"
    for note in estimate.notes:
        yield f"note: {note}"


def _row(name: str, fit: Fit, levels: float, stated: np.ndarray | None) -> str:
    shot, read = fit.model.shot, fit.model.read
    electrons = f"{1 / shot:9.0f}" if shot > 0 else f"{'-':>9}"
    row = f"{name:5}  {shot:9.3g} +- {fit.shot_error:<6.1g}  {read:9.3g} +- {fit.read_error:<6.1g}"
    row += f"  {electrons}  {np.sqrt(read) * levels:11.3g}"
    if stated is None:
        return row
    shot_ratio, read_ratio = (
        f"{found / by_file:5.2f}" if by_file > 0 else f"{'-':>5}"
        for found, by_file in zip((shot, read), stated, strict=True)
    )
    return f"{row}  {stated[0]:10.3g} {shot_ratio}  {stated[1]:8.2g} {read_ratio}"
