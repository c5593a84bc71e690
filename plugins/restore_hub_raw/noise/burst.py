"""Estimates the noise of a sensor from a burst: several exposures of one scene from a tripod."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from restore_hub.errors import DataError
from restore_hub.photo.raw.mosaic import RawImage
from restore_hub_raw.noise.blocks import SIDE, Array, cut, measure
from restore_hub_raw.noise.estimate import Estimate, fit_planes
from restore_hub_raw.noise.model import PLANES
from restore_hub_raw.noise.plane_values import clip_limits, signal_of

_TINY = 1e-12  # keeps from dividing by 0
_OUTLIER, _ROUNDS = 4.0, 20  # standard deviations from the line beyond which a block counts little; rounds to fit it
_MOVED = 0.02  # share of the change that a shift explains; the variance is then about 6 % too large


def estimate_from_burst(raws: Sequence[RawImage], names: Sequence[str] = ()) -> Estimate:
    """Estimate the noise from two or more exposures of one scene with a camera that didn't move.

    Noise is what changes from frame to frame, so texture does no harm. Changes of a plane's overall brightness
    (flicker) are removed, and blocks where something moved are left out.

    Args:
        raws: the frames.
        names: what errors call them.

    Raises:
        DataError: a single frame; frames that differ in size, pattern, levels, exposure time or camera; a camera
            that moved; or too few blocks in which nothing moved.
    """
    names = names or [f"frame {k}" for k in range(1, len(raws) + 1)]
    if len(raws) < 2:
        raise DataError("raw-noise.single-frame", ", ".join(names))
    for raw, name in zip(raws[1:], names[1:], strict=True):
        _require_same_settings(raws[0], names[0], raw, name)
    blocks = []
    for plane in range(len(PLANES)):
        frames = np.stack([signal_of(raw, plane) for raw in raws])
        mean = frames.mean(axis=0)
        change = np.stack([frame - _at_brightness_of(frame, mean) for frame in frames])
        moved = [_share_of_shift(frame, mean) for frame in change]
        if max(moved) > _MOVED:
            raise DataError("raw-noise.camera-moved", names[int(np.argmax(moved))])
        blocks.append(measure(change, mean, *clip_limits(raws, plane)))
    estimate = fit_planes(blocks, raws)
    if estimate is None:
        raise DataError("raw-noise.too-few-still-blocks", blocks=sum(part.mean.size for part in blocks))
    return estimate


def _require_same_settings(first: RawImage, first_name: str, raw: RawImage, name: str) -> None:
    settings = {
        "size": (first.mosaic.shape, raw.mosaic.shape),
        "colour pattern": (first.phase, raw.phase),
        "black level": (first.black.tolist(), raw.black.tolist()),
        "white level": (first.white.tolist(), raw.white.tolist()),
        "exposure time": (first.exposure_time, raw.exposure_time),
        "camera": (first.camera, raw.camera),
    }
    for setting, (expected, found) in settings.items():
        if expected != found:
            raise DataError(
                "raw-noise.settings-differ", name, setting=setting, found=found, expected=expected, first=first_name
            )


def _at_brightness_of(frame: Array, mean: Array) -> Array:
    """Return the burst's mean (H, W) at the brightness of one frame: the line that most blocks agree on.

    Where all blocks are used, the lines of all frames average to the mean, so none of the noise is lost.
    """
    x, y = (cut(plane).mean(axis=(-2, -1)).ravel() for plane in (mean, frame))
    if not len(x):
        return mean  # smaller than a block: there'll be no result
    columns = np.stack([x, np.ones_like(x)], axis=1)
    weight = np.ones(len(x))
    for _ in range(_ROUNDS):
        line = np.linalg.lstsq(columns * weight[:, None], y * weight, rcond=None)[0]
        residual = np.abs(y - columns @ line)
        scale = max(_OUTLIER * 1.4826 * float(np.median(residual)), _TINY)
        weight = 1 / (1 + (residual / scale) ** 2)
    return np.asarray(line[0] * mean + line[1])


def _share_of_shift(change: Array, mean: Array) -> float:
    """Return the share of a frame's change that a small shift explains, 0 to 1: a sum of the mean's two gradients.

    Lucas and Kanade, IJCAI 1981. Noise doesn't contribute, as the gradient at a sample leaves out the sample itself.
    """
    if min(mean.shape) < 4 * SIDE:
        return 0.0  # with few samples, chance explains as much
    down, right = mean[2:, 1:-1] - mean[:-2, 1:-1], mean[1:-1, 2:] - mean[1:-1, :-2]
    slopes = np.stack([down.ravel(), right.ravel()], axis=1)
    y = change[1:-1, 1:-1].ravel()
    fitted = np.linalg.lstsq(slopes.T @ slopes, slopes.T @ y, rcond=None)[0]
    return float(fitted @ (slopes.T @ y)) / max(float(y @ y), _TINY)
