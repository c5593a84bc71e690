"""White balance on request: as the camera saw it, for daylight, or as given."""

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

# What may be asked for: two sources by name, or the sensor's factors of R, G and B.
Balance: TypeAlias = Literal["camera", "daylight"] | Sequence[float]
SMALLEST_FACTOR, LARGEST_FACTOR = 0.01, 100.0  # as in sidecars


def check_balance(balance: Balance | None) -> None:
    """Refuse what is no white balance, before any file is read.

    Raises:
        DataError: another name, not three factors, or one outside 0.01 to 100.
    """
    if balance is None or balance in ("camera", "daylight"):
        return
    factors = [] if isinstance(balance, str) else list(balance)
    if len(factors) != 3 or not all(SMALLEST_FACTOR <= factor <= LARGEST_FACTOR for factor in factors):
        raise DataError(
            f"the white balance {balance!r} is neither camera nor daylight nor three factors R,G,B from "
            f"{SMALLEST_FACTOR:g} to {LARGEST_FACTOR:g}"
        )


def with_balance(raw: RawImage, balance: Balance | None, path: Path) -> RawImage:
    """Return a mosaic with the white balance that is asked for; `None` leaves the file's.

    Args:
        raw: as read.
        balance: `camera` for the one that the file states as shot (its sidecar's counts as such), `daylight` for
            D65 by the colour matrix, or factors of R, G, B; the smallest is scaled to 1, see `RawImage`.
        path: what errors call the file.

    Raises:
        DataError: the file states none (`camera`), or its colour matrix is not known (`daylight`).
    """
    if balance is None:
        return raw
    if balance == "camera":
        if raw.balance_source not in ("camera", "sidecar"):
            raise DataError(f"{path}: states no white balance of the camera; ask for daylight, or give R,G,B")
        return raw
    if balance == "daylight":
        return raw if raw.balance_source == "daylight" else _scaled(raw, _daylight(raw, path), "daylight")
    assert not isinstance(balance, str)
    return _scaled(raw, np.array(balance, np.float64), "given")


def _daylight(raw: RawImage, path: Path) -> NDArray[np.float64]:
    """Return the factors that make what D65 lights white: one over what the sensor sees of sRGB's white."""
    seen = np.zeros(3) if raw.camera_from_xyz is None else (raw.camera_from_xyz @ XYZ_FROM_SRGB).sum(axis=1)
    if not (seen > 0).all() or seen.max() > LARGEST_FACTOR * seen.min():
        raise DataError(
            f"{path}: its white balance for daylight is not known, because neither the file nor LibRaw has a colour "
            "matrix of this camera; ask for camera, or give R,G,B"
        )
    return np.asarray(1 / seen)


def _scaled(raw: RawImage, factors: NDArray[np.float64], source: Literal["daylight", "given"]) -> RawImage:
    planes = (factors / factors.min())[[0, 1, 1, 2]]
    return replace(raw, balance=planes.astype(np.float32), balance_source=source)
