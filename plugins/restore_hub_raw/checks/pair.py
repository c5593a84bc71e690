"""Checks a pair of a short and a long exposure: files, sizes, levels, alignment, exposure ratio."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.photo.colour import linear_from_srgb
from restore_hub.photo.raw.mosaic import RawImage
from restore_hub_raw.checks.alignment import SMALLEST_SIDE, estimate_shift
from restore_hub_raw.checks.exposure_ratio import contradiction, measured_share, stated_ratios
from restore_hub_raw.checks.file import check_file
from restore_hub_raw.checks.findings import Verdict
from restore_hub_raw.checks.planes import USABLE, planes_of

_MOST_SHIFT = 1.0  # pixels of the sensor that a pair may be off
_MOST_SPREAD = 2.0  # pixels of the sensor that part of the picture may move differently from the whole
_MOST_CLIPPED = 0.5  # share of the long exposure's pixels
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # of sRGB, IEC 61966-2-1


def check_pair(short: Path, long: Path, ratio: float | None = None) -> Verdict:
    """Check a short RAW exposure against its long one, a RAW file or an RGB picture of the same size.

    For an RGB picture it checks the alignment, against its luminance; the exposure ratio can't be checked, since the
    picture's brightness is a matter of taste.

    Args:
        short, long: the files.
        ratio: exposure ratio stated by an option or a list; otherwise the files' exposure times and names state it.
    """
    verdict = Verdict()
    dark, light = (check_file(path, verdict) for path in (short, long))
    if not isinstance(dark, RawImage) or light is None:
        return verdict
    stated = {"the option `ratio` says": ratio} if ratio else stated_ratios(short, long, dark, light)
    if not stated and dark.gain is None:
        verdict.add(short, "no exposure ratio", "neither exposure times nor a gain; give the option `ratio`")
    if isinstance(light, RawImage):
        if light.clipped() > _MOST_CLIPPED:
            verdict.add(long, "mostly clipped", f"{light.clipped():.0%} of the pixels are saturated")
        if dark.camera != light.camera:
            verdict.add(short, "cameras differ", f"{dark.camera or 'unknown'} and {light.camera or 'unknown'}")
    if not _same_layout(short, dark, light, verdict):
        return verdict
    _check_alignment(short, dark, light, verdict)
    if isinstance(light, RawImage):
        _check_ratio(short, dark, light, stated, verdict)
    return verdict


def _same_layout(short: Path, dark: RawImage, light: RawImage | NDArray[Any], verdict: Verdict) -> bool:
    shape = light.mosaic.shape if isinstance(light, RawImage) else light.shape[:2]
    if dark.mosaic.shape != shape:
        (h, w), (H, W) = dark.mosaic.shape, shape
        verdict.add(short, "sizes differ", f"{h} x {w} and {H} x {W}")
        return False
    if isinstance(light, RawImage) and dark.phase != light.phase:
        verdict.add(short, "patterns differ", f"red is at {dark.phase} and at {light.phase}")
        return False
    return True


def _check_alignment(short: Path, dark: RawImage, light: RawImage | NDArray[Any], verdict: Verdict) -> None:
    """Compare the green of 2 x 2 tiles.

    The short exposure is brightened and clipped like the long one; otherwise a lamp that blooms to one side in the
    long exposure alone would look like a shift.
    """
    moved = planes_of(dark)[1:3].mean(axis=0)
    if isinstance(light, RawImage):
        reference = planes_of(light)[1:3].mean(axis=0)
    else:
        (top, left), (height, width) = dark.phase, moved.shape
        linear = linear_from_srgb(light[top : top + 2 * height, left : left + 2 * width] @ _LUMINANCE)
        reference = linear.reshape(height, 2, width, 2).mean(axis=(1, 3))
    if min(moved.shape) < SMALLEST_SIDE:
        verdict.undetermined.append("alignment")
        return
    shift = estimate_shift(reference, np.minimum(_gain(reference, moved) * moved, 1))
    if not shift.reliable:
        verdict.undetermined.append("alignment")
    elif 2 * shift.length > _MOST_SHIFT:
        offset = f"{2 * shift.dy:+.1f} pixels down and {2 * shift.dx:+.1f} to the right of the long one"
        verdict.add(short, "misaligned", f"shifted by {offset}")
    elif 2 * shift.spread > _MOST_SPREAD:
        distance = f"{2 * shift.spread:.1f} pixels"
        verdict.add(short, "misaligned", f"part of it is off by {distance}: rotated, distorted, or something moved")


def _gain(reference: NDArray[Any], moved: NDArray[Any]) -> float:
    """Return the factor that makes `moved` as bright as `reference` where that is neither black nor saturated."""
    usable = (reference > USABLE[0]) & (reference < USABLE[1])
    bright, dark = (float(picture[usable].sum(dtype=np.float64)) for picture in (reference, moved))
    return bright / dark if min(bright, dark) > 0 else 1.0


def _check_ratio(short: Path, dark: RawImage, light: RawImage, stated: Mapping[str, float], verdict: Verdict) -> None:
    measured = measured_share(dark, light)
    if measured is None:
        verdict.undetermined.append("exposure ratio")
    elif wrong := contradiction(*measured, stated):
        verdict.add(short, "exposure ratio", wrong)
