"""Estimates the noise of a sensor from single pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from restore_hub.errors import DataError
from restore_hub.photo.raw.mosaic import RawImage
from restore_hub_raw.noise.blocks import Blocks, join, measure
from restore_hub_raw.noise.fit import Fit, fit
from restore_hub_raw.noise.model import PLANES
from restore_hub_raw.noise.plane_values import clip_limits, rounding_step, signal_of

_BRIGHT, _DARK = 0.1, 0.05  # signals that shot and read noise should be seen at
_FLAT = 0.25  # with a smaller share of flat blocks, some of these aren't flat either
_ROUNDING = 0.05  # share of the read noise from which rounding deserves a note


@dataclass(frozen=True, slots=True)
class Estimate:
    """The noise of a sensor.

    Attributes:
        planes: of R, Gr, Gb, B.
        pooled: of all planes together.
        notes: what a person should know before using it, a few words each.
    """

    planes: tuple[Fit, ...]
    pooled: Fit
    notes: tuple[str, ...]


def estimate_from_image(*raws: RawImage) -> Estimate:
    """Estimate the noise from one picture, or from several of any scenes with the same camera settings.

    Only the finest detail of flat blocks counts (see `restore_hub_raw.noise.blocks`), so one picture includes what a
    burst doesn't show, such as unequal pixels. Smoothing before the values were stored makes the estimate too small.

    Raises:
        DataError: fewer than 144 unclipped blocks of 16 x 16 pixels, too few flat ones among them, or less noise than
            rounding hides.
    """
    parts: list[list[Blocks]] = [[] for _ in PLANES]
    for raw in raws:
        for plane, part in enumerate(parts):
            signal = signal_of(raw, plane)
            part.append(measure(signal[None], signal, *clip_limits([raw], plane)))
    blocks = [join(part) for part in parts]
    estimate = fit_planes(blocks, raws)
    if estimate is None:
        raise DataError("raw-noise.too-few-flat-blocks", blocks=sum(part.mean.size for part in blocks))
    return estimate


def fit_planes(blocks: Sequence[Blocks], raws: Sequence[RawImage]) -> Estimate | None:
    """Fit a model to each plane and to all together; `None` where too few blocks of all are usable.

    Raises:
        DataError: less noise than rounding hides.
    """
    together = join(blocks)
    pooled = fit(together)
    level, step = max(rounding_step(raw, plane) for raw in raws for plane in range(len(PLANES)))
    # Where rounding hides the noise of most blocks, whether the others can be fitted depends on the last bits.
    if pooled is not None:
        variance = float(pooled.model.variance(pooled.span[1]))
    else:
        variance = float(np.median(together.noise)) if together.noise.size else np.inf
    if variance < (step / 2) ** 2:
        raise DataError("raw-noise.hidden-by-rounding", step=level)
    if pooled is None:
        return None
    fits = [fit(part) for part in blocks]
    lacking = [name for name, one in zip(PLANES, fits, strict=True) if one is None]
    notes = [f"{name}: too few flat blocks, so it gets the noise of all planes" for name in lacking]
    return Estimate(tuple(one or pooled for one in fits), pooled, (*notes, *_notes(pooled, raws, step)))


def _notes(pooled: Fit, raws: Sequence[RawImage], step: float) -> list[str]:
    notes = []
    dark, bright = pooled.span
    if bright - dark < 2 * float(pooled.model.variance((dark + bright) / 2)) ** 0.5:
        notes.append(f"all levels are near {dark:.2g} of white: only the variance there is known, not its two parts")
    if bright < _BRIGHT:
        notes.append(f"the brightest level is {bright:.2g} of white: above it the shot noise is extrapolated")
    if dark > _DARK:
        notes.append(f"the darkest level is {dark:.2g} of white: the read noise is extrapolated")
    clipped = float(np.mean([raw.clipped() for raw in raws]))
    if clipped >= 1e-4:
        notes.append(f"{clipped:.2%} of the values are saturated and not used")
    if pooled.flat < _FLAT:
        notes.append(f"only {pooled.flat:.0%} of the blocks are flat: some texture may count as noise")
    read, rounding = pooled.model.read, step**2 / 12
    if read < (step / 2) ** 2 and rounding:
        notes.append("the read noise is less than half a step between stored values, so rounding hides part of it")
    elif rounding > _ROUNDING * read:
        notes.append(f"the read noise includes {rounding:.2g} from rounding (1/12 of the squared step between values)")
    return notes
