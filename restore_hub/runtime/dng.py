"""Writes a Bayer mosaic as a DNG file that RAW readers take."""

from __future__ import annotations

import io
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import ArrayLike, NDArray

from restore_hub.errors import DataError
from restore_hub.runtime.images import write_atomic
from restore_hub.runtime.mosaic import XYZ_FROM_SRGB, RawImage

SMALLEST_SIDE = 22  # LibRaw takes nothing smaller for a RAW file
_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _SRATIONAL, _DOUBLE = 1, 2, 3, 4, 5, 10, 12  # TIFF field types
_D65 = 21  # EXIF LightSource
_Tag = tuple[int, int, int | None, Any]  # TIFF code, type, count, value


def write_dng(path: Path, raw: RawImage) -> None:
    """Write a mosaic as an uncompressed DNG 1.4; whole or not at all. An older file is replaced.

    Raises:
        DataError: as `encode_dng`, or a folder that cannot be written.
    """
    write_atomic(Path(path), encode_dng(raw, str(path)))


def encode_dng(raw: RawImage, name: str = "the mosaic") -> bytes:
    """Return the DNG file of a uint16 mosaic (H, W), H and W at least 22.

    All that `raw` knows is written, but for what DNG has no place for: of unequal white levels it holds the
    lowest, and one factor of white balance for both greens. Tags are those of the DNG specification 1.4, chapter
    4; ExposureTime stands in the main directory (TIFF/EP).

    Args:
        raw: what to write; without `camera_from_xyz`, camera RGB is taken for sRGB.
        name: what errors call it.

    Raises:
        DataError: another shape or type, levels out of order, unequal greens.
    """
    balance = np.asarray(raw.balance, np.float64)
    black, white = [int(v) for v in np.rint(raw.black)], int(raw.white.min())
    _check(name, raw.mosaic, black, white, balance)
    matrix = np.linalg.inv(XYZ_FROM_SRGB) if raw.camera_from_xyz is None else raw.camera_from_xyz
    tags = [*_camera(raw.camera or "restore_hub", raw.orientation), *_sensor(raw.phase, black, white)]
    tags += _colour(matrix, balance)
    if raw.exposure_time is not None:
        tags.append((33434, _RATIONAL, 1, _rationals(raw.exposure_time)))
    if raw.gain is not None:
        tags.append((50730, _SRATIONAL, 1, _rationals(math.log2(raw.gain))))
    if raw.noise is not None:
        tags.append((51041, _DOUBLE, 6, tuple(raw.noise[[0, 1, 3]].ravel())))  # NoiseProfile
    buffer = io.BytesIO()
    extra = [(*tag, True) for tag in sorted(tags, key=lambda tag: tag[0])]
    tifffile.imwrite(buffer, raw.mosaic, photometric="cfa", metadata=None, software=False, extratags=extra)
    return buffer.getvalue()


def _check(name: str, mosaic: NDArray[Any], black: list[int], white: int, balance: NDArray[np.float64]) -> None:
    if mosaic.ndim != 2 or mosaic.dtype != np.uint16 or min(mosaic.shape) < SMALLEST_SIDE:
        raise DataError(
            f"{name}: a DNG holds a uint16 mosaic of at least {SMALLEST_SIDE} x {SMALLEST_SIDE}, not "
            f"{mosaic.dtype} {mosaic.shape}"
        )
    if not np.isclose(balance[1], balance[2], rtol=1e-3) or not (balance > 0).all():
        raise DataError(f"{name}: a DNG holds one positive factor for each colour, not {balance.tolist()}")
    if not 0 <= min(black) <= max(black) < white <= 65535:
        raise DataError(f"{name}: black levels {black} must be four, not negative, and below white {white} <= 65535")


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


def _sensor(phase: tuple[int, int], black: list[int], white: int) -> list[_Tag]:
    planes = [2 * (y ^ phase[0]) + (x ^ phase[1]) for y in (0, 1) for x in (0, 1)]  # plane at each site of the tile
    return [
        (33421, _SHORT, 2, (2, 2)),  # CFARepeatPatternDim
        (33422, _BYTE, 4, bytes((0, 1, 1, 2)[plane] for plane in planes)),  # CFAPattern
        (50713, _SHORT, 2, (2, 2)),  # BlackLevelRepeatDim
        (50714, _LONG, 4, tuple(black[plane] for plane in planes)),  # BlackLevel
        (50717, _LONG, 1, white),  # WhiteLevel
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
