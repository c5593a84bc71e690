"""Writes a Bayer mosaic as a DNG file that RAW readers take."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import ArrayLike, NDArray

from restore_hub.errors import DataError
from restore_hub.runtime.images import write_atomic

SMALLEST_SIDE = 22  # LibRaw takes nothing smaller for a RAW file
_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _SRATIONAL = 1, 2, 3, 4, 5, 10  # TIFF field types
_D65 = 21  # EXIF LightSource
_Tag = tuple[int, int, int | None, Any]  # TIFF code, type, count, value


def write_dng(
    path: Path,
    mosaic: NDArray[np.uint16],
    *,
    phase: tuple[int, int],
    black: Sequence[int],
    white: int,
    balance: ArrayLike,
    matrix: ArrayLike,
    orientation: int = 1,
    exposure_time: float | None = None,
    baseline_exposure: float | None = None,
    camera: str = "restore_hub",
) -> None:
    """Write a mosaic uint16 (H, W), H and W at least 22, as an uncompressed DNG 1.4; whole or not at all.

    Args:
        path: where to write; an older file is replaced.
        mosaic: sensor values.
        phase: (row, column) of red in its 2x2 tile.
        black: levels of no light of the planes R, Gr, Gb, B.
        white: level of saturation of all planes.
        balance: white balance of R, Gr, Gb, B; DNG holds one green, so both are equal.
        matrix: XYZ (D65) to camera (3, 3), DNG's ColorMatrix1.
        orientation: EXIF orientation 1..8.
        exposure_time: seconds.
        baseline_exposure: stops by which a reader should brighten the picture.
        camera: make, a space, and model.

    Tags are those of the DNG specification 1.4, chapter 4; ExposureTime stands in the main directory (TIFF/EP).

    Raises:
        DataError: another shape or type, levels out of order, unequal greens, a folder that cannot be written.
    """
    path, factors = Path(path), np.asarray(balance, np.float64).reshape(4)
    _check(path, mosaic, black, white, factors)
    tags = [*_camera(camera, orientation), *_sensor(phase, black, white), *_colour(matrix, factors)]
    if exposure_time is not None:
        tags.append((33434, _RATIONAL, 1, _rationals(exposure_time)))
    if baseline_exposure is not None:
        tags.append((50730, _SRATIONAL, 1, _rationals(baseline_exposure)))
    buffer = io.BytesIO()
    extra = [(*tag, True) for tag in sorted(tags, key=lambda tag: tag[0])]
    tifffile.imwrite(buffer, mosaic, photometric="cfa", metadata=None, software=False, extratags=extra)
    write_atomic(path, buffer.getvalue())


def _check(
    path: Path, mosaic: NDArray[np.uint16], black: Sequence[int], white: int, balance: NDArray[np.float64]
) -> None:
    if mosaic.ndim != 2 or mosaic.dtype != np.uint16 or min(mosaic.shape) < SMALLEST_SIDE:
        raise DataError(
            f"{path}: a DNG holds a uint16 mosaic of at least {SMALLEST_SIDE} x {SMALLEST_SIDE}, not "
            f"{mosaic.dtype} {mosaic.shape}"
        )
    if balance[1] != balance[2] or not (balance > 0).all():
        raise DataError(f"{path}: a DNG holds one positive factor for each colour, not {balance.tolist()}")
    if len(black) != 4 or not 0 <= min(black) <= max(black) < white <= 65535:
        raise DataError(
            f"{path}: black levels {list(black)} must be four, not negative, and below white {white} <= 65535"
        )


def _camera(camera: str, orientation: int) -> list[_Tag]:
    make, _, model = camera.partition(" ")
    return [
        (271, _ASCII, None, make),
        (272, _ASCII, None, model or make),
        (274, _SHORT, 1, orientation),
        (50706, _BYTE, 4, bytes((1, 4, 0, 0))),  # DNGVersion
        (50707, _BYTE, 4, bytes((1, 1, 0, 0))),  # DNGBackwardVersion
        (50708, _ASCII, None, camera),  # UniqueCameraModel
    ]


def _sensor(phase: tuple[int, int], black: Sequence[int], white: int) -> list[_Tag]:
    planes = [2 * (y ^ phase[0]) + (x ^ phase[1]) for y in (0, 1) for x in (0, 1)]  # plane at each site of the tile
    return [
        (33421, _SHORT, 2, (2, 2)),  # CFARepeatPatternDim
        (33422, _BYTE, 4, bytes((0, 1, 1, 2)[plane] for plane in planes)),  # CFAPattern
        (50713, _SHORT, 2, (2, 2)),  # BlackLevelRepeatDim
        (50714, _LONG, 4, tuple(int(black[plane]) for plane in planes)),  # BlackLevel
        (50717, _LONG, 1, int(white)),  # WhiteLevel
    ]


def _colour(matrix: ArrayLike, balance: NDArray[np.float64]) -> list[_Tag]:
    return [
        (50721, _SRATIONAL, 9, _rationals(matrix)),  # ColorMatrix1
        (50728, _RATIONAL, 3, _rationals(balance[1] / balance[[0, 1, 3]])),  # AsShotNeutral
        (50778, _SHORT, 1, _D65),  # CalibrationIlluminant1
    ]


def _rationals(values: ArrayLike) -> tuple[int, ...]:
    """Return numbers as numerators and denominators that fit 32 bits."""
    fractions = [Fraction(float(v)).limit_denominator(1_000_000) for v in np.ravel(values)]
    return tuple(part for f in fractions for part in (f.numerator, f.denominator))
