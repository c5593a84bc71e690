"""The exposure ratio of a pair: what files state, and what the pixels say."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.photo.raw.mosaic import RawImage
from restore_hub_raw.checks.planes import USABLE, planes_of

_TOLERANCE = 0.2
_STANDARD_ERRORS = 4.0
_CELL = 8  # pixels of a plane whose mean counts as one value
_FEWEST_CELLS = 20
_BLACK_ERROR = 0.5  # levels that a black level may be wrong by: a lot where a short exposure has 20 above it
_TIME_IN_NAME = re.compile(r"_(\d+(?:\.\d+)?)s$")  # 00001_00_0.1s.ARW, as in SID


def stated_ratios(short: Path, long: Path, dark: RawImage, light: RawImage | NDArray[Any]) -> dict[str, float]:
    """Return the exposure ratios, not limited, that exposure times and file names (`00001_00_0.1s.ARW`) state."""
    stated = {}
    if isinstance(light, RawImage) and dark.exposure_time and light.exposure_time:
        stated["exposure times say"] = light.exposure_time / dark.exposure_time
    matches = [_TIME_IN_NAME.search(path.stem) for path in (short, long)]
    times = [float(match[1]) for match in matches if match]
    if len(times) == 2 and min(times) > 0:
        stated["file names say"] = times[1] / times[0]
    return stated


def measured_share(short: RawImage, long: RawImage) -> tuple[float, float] | None:
    """Measure the share of the long exposure's light that a short one got, and its standard error.

    The ratio of sums over cells of 8 x 8 pixels of a plane, above black. A cell counts where the long exposure is
    between 2 % and 90 % of saturation, so that noise in the short one selects nothing, and where the short one stays
    above 0, because the file has cut off its noise there. The exposure ratio is 1 over the share; the share's error is
    symmetric, the ratio's wouldn't be. It includes an uncertainty of half a level about black.

    Args:
        short, long: of one size and phase.

    Returns:
        Share and error, or `None` where fewer than 20 cells are left.
    """
    dark, light = (_cells(planes_of(raw)) for raw in (short, long))  # (4, h, w, cell)
    span = (short.white - short.black).reshape(4, 1, 1)
    bottom = -short.black.reshape(4, 1, 1) / span
    means = light.mean(axis=-1, dtype=np.float64)
    usable = (means > USABLE[0]) & (light.max(axis=-1) < USABLE[1]) & (dark.min(axis=-1) > bottom)
    if usable.sum() < _FEWEST_CELLS:
        return None
    x, y = means[usable], dark.mean(axis=-1, dtype=np.float64)[usable]
    share = y.sum() / x.sum()
    noise = math.sqrt(((y - share * x) ** 2).sum()) / x.sum()
    offset = float((_BLACK_ERROR / span * usable).sum()) / x.sum()
    return float(share), math.hypot(noise, offset)


def contradiction(share: float, error: float, stated: Mapping[str, float]) -> str:
    """Return how the pixels contradict the stated ratios; empty where they don't."""
    wrong = list(_contradicted(share, error, stated))
    if not wrong:
        return ""
    low, high = (1 / max(share + n * error, 1e-9) for n in (2, -2))
    measured = f"{1 / share:.3g} ({low:.3g} to {high:.3g})" if share > 4 * error else f"above {low:.3g}"
    return f"the pixels say {measured}, {' and '.join(wrong)}"


def _contradicted(share: float, error: float, stated: Mapping[str, float]) -> Iterator[str]:
    for source, ratio in stated.items():
        off = share * ratio  # 1 where the pixels agree
        if max(off, 1 / max(off, 1e-9)) > 1 + _TOLERANCE and abs(share - 1 / ratio) > _STANDARD_ERRORS * error:
            yield f"{source} {ratio:.4g}"


def _cells(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut planes (4, h, w) into cells: (4, h / 8, w / 8, 64)."""
    _, height, width = (n // _CELL for n in planes.shape)
    cut = planes[:, : height * _CELL, : width * _CELL].reshape(4, height, _CELL, width, _CELL)
    return cut.swapaxes(2, 3).reshape(4, height, width, _CELL * _CELL)
