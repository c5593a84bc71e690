"""White balance on request: the camera's, daylight's, or factors that a person gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import DataError
from restore_hub.photo.colour import XYZ_FROM_SRGB
from restore_hub.photo.raw.mosaic import RawImage

# Two sources by name, or the sensor's factors of R, G and B.
Balance: TypeAlias = Literal["camera", "daylight"] | Sequence[float]
SMALLEST_FACTOR, LARGEST_FACTOR = 0.01, 100.0  # as in sidecars


def check_balance(balance: Balance | None) -> None:
    """Refuse a value that isn't a white balance, before any file is read.

    Raises:
        DataError: another name, not three factors, or one outside 0.01 to 100.
    """
    if balance is None or balance in ("camera", "daylight"):
        return
    factors = [] if isinstance(balance, str) else list(balance)
    if len(factors) != 3 or not all(SMALLEST_FACTOR <= factor <= LARGEST_FACTOR for factor in factors):
        raise DataError("raw.bad-balance", balance=balance, low=SMALLEST_FACTOR, high=LARGEST_FACTOR)


def with_balance(raw: RawImage, balance: Balance | None, path: Path) -> RawImage:
    """Return a mosaic with another white balance; `None` leaves the file's.

    Args:
        raw: as read.
        balance: `camera` for the one that the file or its sidecar states, `daylight` for D65 by the colour matrix, or
            factors of R, G, B; the smallest is scaled to 1, see `RawImage`.
        path: what errors call the file.

    Raises:
        DataError: the file states none (`camera`), or its colour matrix is not known (`daylight`).
    """
    if balance is None:
        return raw
    if balance == "camera":
        if raw.balance_source not in ("camera", "sidecar"):
            raise DataError("raw.no-camera-balance", path)
        return raw
    if balance == "daylight":
        return raw if raw.balance_source == "daylight" else _scaled(raw, _daylight(raw, path), "daylight")
    assert not isinstance(balance, str)
    return _scaled(raw, np.array(balance, np.float64), "given")


def _daylight(raw: RawImage, path: Path) -> NDArray[np.float64]:
    """Return the factors that make D65 white: one over what the sensor sees of sRGB's white."""
    seen = np.zeros(3) if raw.camera_from_xyz is None else (raw.camera_from_xyz @ XYZ_FROM_SRGB).sum(axis=1)
    if not (seen > 0).all() or seen.max() > LARGEST_FACTOR * seen.min():
        raise DataError("raw.no-daylight-balance", path)
    return np.asarray(1 / seen)


def _scaled(raw: RawImage, factors: NDArray[np.float64], source: Literal["daylight", "given"]) -> RawImage:
    planes = (factors / factors.min())[[0, 1, 1, 2]]
    return replace(raw, balance=planes.astype(np.float32), balance_source=source)
