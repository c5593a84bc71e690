"""Estimates the noise of a sensor from its pictures: from single ones, or from a burst of one scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import DataError
from restore_hub.photo.raw.mosaic import RawImage, planes
from restore_hub_raw.noise.fit import SIDE, Array, Blocks, Fit, cut, fit, join, measure
from restore_hub_raw.synthesis.sensor_noise import PLANES

_NOTHING = 1e-12  # keeps from dividing by 0
_HEAP = 16  # as many values at the outermost level, and more than at the next, have been clipped there
_OUTLIER, _LINES = 4.0, 20  # standard deviations off the line of all that make a block count little; rounds to find it
_MOVED = 0.02  # share of the change that a shift explains; the variance is then about 6 % too large
_BRIGHT, _DARK = 0.1, 0.05  # signals that shot and read noise should be seen at
_FLAT = 0.25  # with a smaller share of flat blocks, some of these are not flat either
_ROUNDING = 0.05  # a share of the read noise that is worth a word


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

    Only the finest detail of flat blocks counts (see `noise_fit`), so that one picture holds what a burst does not
    show, such as unequal pixels. Whatever smoothed the values before they were stored makes the estimate too small.

    Raises:
        DataError: fewer than 144 unclipped blocks of 16 x 16 pixels, too few flat ones among them, or less noise than
            rounding hides.
    """
    parts: list[list[Blocks]] = [[] for _ in PLANES]
    for raw in raws:
        for plane, part in enumerate(parts):
            signal = _signal(raw, plane)
            part.append(measure(signal[None], signal, *_limits([raw], plane)))
    return _estimate([join(part) for part in parts], raws, "give larger, plainer or better exposed pictures")


def estimate_from_burst(raws: Sequence[RawImage], names: Sequence[str] = ()) -> Estimate:
    """Estimate the noise from two or more exposures of one scene with a camera that did not move.

    Noise is what changes from frame to frame, so that texture does no harm. A change of a plane's brightness as a
    whole (flicker) is taken out, and blocks where something moved are left out.

    Args:
        raws: the frames.
        names: what errors call them.

    Raises:
        DataError: a single frame; frames that differ in size, pattern, levels, exposure time or camera; a camera
            that moved; or too few blocks in which nothing moved.
    """
    names = names or [f"frame {k}" for k in range(1, len(raws) + 1)]
    if len(raws) < 2:
        raise DataError(f"{', '.join(names) or 'no file'}: a burst has two frames or more; give more")
    for raw, name in zip(raws[1:], names[1:], strict=True):
        _refuse_other(raws[0], names[0], raw, name)
    blocks = []
    for plane in range(len(PLANES)):
        frames = np.stack([_signal(raw, plane) for raw in raws])
        mean = frames.mean(axis=0)
        change = np.stack([frame - _brightness(frame, mean) for frame in frames])
        moved = [_shift_share(frame, mean) for frame in change]
        if max(moved) > _MOVED:
            name = names[int(np.argmax(moved))]
            raise DataError(f"{name}: the camera moved between the frames of the burst; take them from a tripod")
        blocks.append(measure(change, mean, *_limits(raws, plane)))
    return _estimate(blocks, raws, "give frames of one scene from a tripod, of 100 x 100 pixels or more")


def _refuse_other(first: RawImage, first_name: str, raw: RawImage, name: str) -> None:
    """Refuse a frame that was not taken as the first one."""
    pairs = {
        "size": (first.mosaic.shape, raw.mosaic.shape),
        "colour pattern": (first.phase, raw.phase),
        "black level": (first.black.tolist(), raw.black.tolist()),
        "white level": (first.white.tolist(), raw.white.tolist()),
        "exposure time": (first.exposure_time, raw.exposure_time),
        "camera": (first.camera, raw.camera),
    }
    for what, (one, other) in pairs.items():
        if one != other:
            raise DataError(
                f"{name}: its {what} is {other}, but that of {first_name} {one}; a burst has one setting for all"
            )


def _signal(raw: RawImage, plane: int) -> Array:
    """Return one colour, 0 at black and 1 at white."""
    black, white = float(raw.black[plane]), float(raw.white[plane])
    return (_levels(raw, plane).astype(np.float64) - black) / (white - black)


def _levels(raw: RawImage, plane: int) -> NDArray[np.generic]:
    levels: NDArray[np.generic] = planes(raw.mosaic, raw.phase)[plane]
    return levels


def _limits(raws: Sequence[RawImage], plane: int) -> tuple[float, float]:
    """Return the signals that a plane is clipped at: white, or where values heap up below it or at the bottom."""
    floor, ceiling = -np.inf, 1.0
    for raw in raws:
        values, counts = np.unique(_levels(raw, plane), return_counts=True)
        if len(values) < 2:
            continue
        signals = (values[[0, -1]].astype(np.float64) - raw.black[plane]) / (raw.white[plane] - raw.black[plane])
        if values[0] == 0 or counts[0] > max(counts[1], _HEAP):
            floor = max(floor, float(signals[0]))
        if counts[-1] > max(counts[-2], _HEAP):
            ceiling = min(ceiling, float(signals[1]))
    return floor, ceiling


def _brightness(frame: Array, mean: Array) -> Array:
    """Return the burst's mean (H, W) at the brightness of one frame: the line that most blocks agree on.

    The lines of all frames add up to the mean where all blocks are used, and then none of the noise is lost.
    """
    x, y = (cut(plane).mean(axis=(-2, -1)).ravel() for plane in (mean, frame))
    if not len(x):
        return mean  # smaller than a block: nothing will be concluded from it
    both = np.stack([x, np.ones_like(x)], axis=1)
    weight = np.ones(len(x))
    for _ in range(_LINES):
        line = np.linalg.lstsq(both * weight[:, None], y * weight, rcond=None)[0]
        rest = np.abs(y - both @ line)
        scale = max(_OUTLIER * 1.4826 * float(np.median(rest)), _NOTHING)
        weight = 1 / (1 + (rest / scale) ** 2)
    return np.asarray(line[0] * mean + line[1])


def _shift_share(change: Array, mean: Array) -> float:
    """Return the share of a frame's change that a small shift explains, 0 to 1: a sum of the mean's two gradients.

    Lucas and Kanade, IJCAI 1981. Noise has no part in it, as a gradient at a sample leaves out the sample itself.
    """
    if min(mean.shape) < 4 * SIDE:
        return 0.0  # of few samples, chance explains as much
    down, right = mean[2:, 1:-1] - mean[:-2, 1:-1], mean[1:-1, 2:] - mean[1:-1, :-2]
    slopes = np.stack([down.ravel(), right.ravel()], axis=1)
    y = change[1:-1, 1:-1].ravel()
    fitted = np.linalg.lstsq(slopes.T @ slopes, slopes.T @ y, rcond=None)[0]
    return float(fitted @ (slopes.T @ y)) / max(float(y @ y), _NOTHING)


def _estimate(blocks: Sequence[Blocks], raws: Sequence[RawImage], advice: str) -> Estimate:
    together = join(blocks)
    pooled = fit(together)
    level, step = max(_step(raw, plane) for raw in raws for plane in range(len(PLANES)))
    # Where rounding hides the noise of most blocks, whether the rest can be fitted is a matter of the last bits.
    if pooled is not None:
        seen = pooled.model.variance(pooled.span[1])
    else:
        seen = float(np.median(together.noise)) if together.noise.size else np.inf
    if seen < (step / 2) ** 2:
        raise DataError(
            f"the noise cannot be measured: it is less than half the distance of stored values ({level}), so that "
            "rounding hides it; give pictures taken at a higher ISO, or stored with more levels"
        )
    if pooled is None:
        raise DataError(
            f"the noise cannot be measured: too few of {together.mean.size} blocks are flat and unclipped; {advice}"
        )
    found = [fit(part) for part in blocks]
    pairs = zip(PLANES, found, strict=True)
    notes = [f"{name}: too few flat blocks, so it has the noise of all" for name, one in pairs if one is None]
    return Estimate(tuple(one or pooled for one in found), pooled, (*notes, *_notes(pooled, raws, step)))


def _notes(pooled: Fit, raws: Sequence[RawImage], step: float) -> list[str]:
    notes = []
    dark, bright = pooled.span
    if bright - dark < 2 * float(pooled.model.variance((dark + bright) / 2)) ** 0.5:
        notes.append(f"all levels seen are near {dark:.2g} of white: only the variance there is known, not its parts")
    if bright < _BRIGHT:
        notes.append(f"brightest level seen is {bright:.2g} of white: the shot noise is an extrapolation above it")
    if dark > _DARK:
        notes.append(f"darkest level seen is {dark:.2g} of white: the read noise is an extrapolation")
    clipped = float(np.mean([raw.clipped() for raw in raws]))
    if clipped >= 1e-4:
        notes.append(f"{clipped:.2%} of the values are saturated and left out")
    if pooled.flat < _FLAT:
        notes.append(f"only {pooled.flat:.0%} of the blocks are flat: some texture may count as noise")
    read, rounding = pooled.model.read, step**2 / 12
    if read < (step / 2) ** 2 and rounding:
        notes.append("the read noise is less than half the distance of stored values, and partly hidden by rounding")
    elif rounding > _ROUNDING * read:
        notes.append(f"values are rounded: {rounding:.2g}, 1/12 of their distance squared, is in the read noise")
    return notes


def _step(raw: RawImage, plane: int) -> tuple[int, float]:
    """Return the distance between stored values, in levels and as a signal; zeros where it is not known."""
    values = np.unique(_levels(raw, plane))
    if not np.issubdtype(values.dtype, np.integer) or len(values) < 2:
        return 0, 0.0
    level = int(np.gcd.reduce(np.diff(values.astype(np.int64))))
    return level, level / float(raw.white[plane] - raw.black[plane])
