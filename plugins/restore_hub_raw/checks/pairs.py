"""What can be wrong with a pair of a short and a long exposure: files, sizes, levels, alignment, exposure ratio."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import DataError
from restore_hub.photo.colour import linear_from_srgb
from restore_hub.photo.kind import kind_of
from restore_hub.photo.pictures import read_picture
from restore_hub.photo.raw.mosaic import RawImage, pack
from restore_hub.photo.raw.reader import read_raw
from restore_hub_raw.checks.alignment import SMALLEST_SIDE, estimate_shift

MOST_SHIFT = 1.0  # pixels of the sensor that a pair may be off
MOST_SPREAD = 2.0  # pixels of the sensor that a part of the picture may move unlike the whole
MOST_CLIPPED = 0.5  # share of the long exposure's pixels
RATIO_TOLERANCE = 0.2
STANDARD_ERRORS = 4.0
_USABLE = (0.02, 0.9)  # signal of the long exposure that is neither black nor near saturation
_CELL = 8  # pixels of a plane whose mean counts as one value
_FEWEST_CELLS = 20
_BLACK_ERROR = 0.5  # levels that a black level may be wrong by: much where a short exposure has 20 above it
_NAMED_TIME = re.compile(r"_(\d+(?:\.\d+)?)s$")  # 00001_00_0.1s.ARW, as in SID
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # of sRGB, IEC 61966-2-1


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: a file, a problem of two or three words, and what was seen."""

    file: Path
    problem: str
    detail: str


@dataclass(slots=True)
class Verdict:
    """What a check found, and what it could not tell (`unknown`, a few words each)."""

    findings: list[Finding] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def add(self, file: Path, problem: str, detail: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(file, problem, detail))


def check_pair(short: Path, long: Path, ratio: float | None = None) -> Verdict:
    """Check a short RAW exposure against its long one, a RAW file or an RGB picture of the same size.

    Of an RGB picture the alignment is checked, against its luminance; the exposure ratio cannot be, since the
    picture's brightness is a matter of taste.

    Args:
        short, long: the files.
        ratio: exposure ratio that somebody states; otherwise the files' exposure times and names do.
    """
    verdict = Verdict()
    dark, light = (check_file(path, verdict) for path in (short, long))
    if not isinstance(dark, RawImage) or light is None:
        return verdict
    stated = {"the option `ratio` says": ratio} if ratio else stated_ratios(short, long, dark, light)
    if not stated and dark.gain is None:
        verdict.add(short, "no exposure ratio", "neither exposure times nor a gain; give the option `ratio`")
    if isinstance(light, RawImage):
        if light.clipped() > MOST_CLIPPED:
            verdict.add(long, "mostly clipped", f"{light.clipped():.0%} of the pixels are saturated")
        if dark.camera != light.camera:
            verdict.add(short, "cameras differ", f"{dark.camera or 'unknown'} and {light.camera or 'unknown'}")
    if not _same_layout(short, dark, light, verdict):
        return verdict
    _check_alignment(short, dark, light, verdict)
    if isinstance(light, RawImage):
        _check_ratio(short, dark, light, stated, verdict)
    return verdict


def check_file(path: Path, verdict: Verdict) -> RawImage | NDArray[np.float32] | None:
    """Return the mosaic, hot pixels repaired, or the picture (H, W, 3) in a file; what cannot be read is a finding."""
    try:
        return read_raw(path, repair=True) if kind_of(path).is_raw else read_picture(path).pixels
    except DataError as error:
        verdict.add(path, "unreadable", str(error).removeprefix(f"{path}: "))
        return None


def stated_ratios(short: Path, long: Path, dark: RawImage, light: RawImage | NDArray[Any]) -> dict[str, float]:
    """Return the exposure ratios, not limited, that exposure times and file names (as `00001_00_0.1s.ARW`) state."""
    stated = {}
    if isinstance(light, RawImage) and dark.exposure_time and light.exposure_time:
        stated["exposure times say"] = light.exposure_time / dark.exposure_time
    named = [_NAMED_TIME.search(path.stem) for path in (short, long)]
    times = [float(match[1]) for match in named if match]
    if len(times) == 2 and min(times) > 0:
        stated["file names say"] = times[1] / times[0]
    return stated


def measured_share(short: RawImage, long: RawImage) -> tuple[float, float] | None:
    """Measure the share of the long exposure's light that a short one got, and its standard error.

    The ratio of sums over cells of 8 x 8 pixels of a plane, above black. Cells count where the long exposure has
    between 2 % and 90 % of saturation, so that noise in the short one chooses nothing; not where the short one
    reached 0, because there the file has cut its noise off. The exposure ratio is 1 over the share; its error
    would be lopsided, this one is not. Half a level of doubt about black is part of it.

    Args:
        short, long: of one size and phase.

    Returns:
        Share and error, or `None` where fewer than 20 cells are left.
    """
    dark, light = (_cells(_planes(raw)) for raw in (short, long))  # (4, h, w, cell)
    span = (short.white - short.black).reshape(4, 1, 1)
    bottom = -short.black.reshape(4, 1, 1) / span
    means = light.mean(axis=-1, dtype=np.float64)
    usable = (means > _USABLE[0]) & (light.max(axis=-1) < _USABLE[1]) & (dark.min(axis=-1) > bottom)
    if usable.sum() < _FEWEST_CELLS:
        return None
    x, y = means[usable], dark.mean(axis=-1, dtype=np.float64)[usable]
    share = y.sum() / x.sum()
    noise = math.sqrt(((y - share * x) ** 2).sum()) / x.sum()
    offset = float((_BLACK_ERROR / span * usable).sum()) / x.sum()
    return float(share), math.hypot(noise, offset)


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

    The short exposure is brightened and clipped like the long one: else a lamp that blooms to one side in the long
    one alone would look like a shift.
    """
    moved = _planes(dark)[1:3].mean(axis=0)
    if isinstance(light, RawImage):
        reference = _planes(light)[1:3].mean(axis=0)
    else:
        (top, left), (height, width) = dark.phase, moved.shape
        linear = linear_from_srgb(light[top : top + 2 * height, left : left + 2 * width] @ _LUMINANCE)
        reference = linear.reshape(height, 2, width, 2).mean(axis=(1, 3))
    if min(moved.shape) < SMALLEST_SIDE:
        verdict.unknown.append("alignment")
        return
    shift = estimate_shift(reference, np.minimum(_gain(reference, moved) * moved, 1))
    if not shift.told:
        verdict.unknown.append("alignment")
    elif 2 * shift.length > MOST_SHIFT:
        seen = f"shifted by {2 * shift.dy:+.1f} pixels down and {2 * shift.dx:+.1f} to the right of the long one"
        verdict.add(short, "misaligned", seen)
    elif 2 * shift.spread > MOST_SPREAD:
        seen = f"a part is {2 * shift.spread:.1f} pixels off: turned, distorted, or something moved"
        verdict.add(short, "misaligned", seen)


def _gain(reference: NDArray[Any], moved: NDArray[Any]) -> float:
    """Return the factor that makes `moved` as bright as `reference` where that is neither black nor saturated."""
    usable = (reference > _USABLE[0]) & (reference < _USABLE[1])
    bright, dark = (float(picture[usable].sum(dtype=np.float64)) for picture in (reference, moved))
    return bright / dark if min(bright, dark) > 0 else 1.0


def _check_ratio(short: Path, dark: RawImage, light: RawImage, stated: Mapping[str, float], verdict: Verdict) -> None:
    measured = measured_share(dark, light)
    if measured is None:
        verdict.unknown.append("exposure ratio")
        return
    share, error = measured
    wrong = list(_contradicting(share, error, stated))
    if wrong:
        low, high = (1 / max(share + n * error, 1e-9) for n in (2, -2))
        seen = f"{1 / share:.3g} ({low:.3g} to {high:.3g})" if share > 4 * error else f"above {low:.3g}"
        verdict.add(short, "exposure ratio", f"the pixels say {seen}, {' and '.join(wrong)}")


def _contradicting(share: float, error: float, stated: Mapping[str, float]) -> Iterator[str]:
    for source, ratio in stated.items():
        off = share * ratio  # 1 where the pixels agree
        if max(off, 1 / max(off, 1e-9)) > 1 + RATIO_TOLERANCE and abs(share - 1 / ratio) > STANDARD_ERRORS * error:
            yield f"{source} {ratio:.4g}"


def _planes(raw: RawImage) -> NDArray[np.float32]:
    """Return R, Gr, Gb, B (4, h, w) of the whole tiles that begin with red, black at 0 and saturation at 1."""
    height, width = ((n - start) // 2 for n, start in zip(raw.mosaic.shape, raw.phase, strict=True))
    mosaic = raw.mosaic[raw.phase[0] :, raw.phase[1] :]
    return pack(mosaic, (0, 0), raw.black, raw.white, np.ones(4), 1.0)[:, :height, :width]


def _cells(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut planes (4, h, w) into cells: (4, h / 8, w / 8, 64)."""
    _, height, width = (n // _CELL for n in planes.shape)
    cut = planes[:, : height * _CELL, : width * _CELL].reshape(4, height, _CELL, width, _CELL)
    return cut.swapaxes(2, 3).reshape(4, height, width, _CELL * _CELL)
