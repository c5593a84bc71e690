"""Writes DNG files: a Bayer mosaic, or a restored picture as linear light."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from restore_hub.errors import DataError
from restore_hub.files import write_file
from restore_hub.photo.colour import XYZ_FROM_SRGB
from restore_hub.photo.exif import MAKE, MODEL, with_exposure_time
from restore_hub.photo.raw.mosaic import RawImage, sites
from restore_hub.photo.tiff import (
    BYTE,
    DOUBLE,
    FLOAT,
    LONG,
    RATIONAL,
    SHORT,
    SRATIONAL,
    Directory,
    Field,
    encode_tiff,
    numbers,
    rationals,
    text,
)

SMALLEST_SIDE = 22  # LibRaw reads no smaller RAW file
_D65 = 21  # EXIF LightSource


def write_dng(path: Path, raw: RawImage, exif: Directory | None = None) -> None:
    """Write a mosaic as an uncompressed DNG 1.4; whole or not at all. An older file is replaced.

    Raises:
        DataError: as `encode_dng`, or a folder that cannot be written.
    """
    write_file(Path(path), encode_dng(raw, str(path), exif))


def encode_dng(raw: RawImage, name: str = "the mosaic", exif: Directory | None = None) -> bytes:
    """Return the DNG file of a uint16 mosaic (H, W), H and W at least 22.

    Everything that `raw` knows is written, except what DNG cannot hold: unequal white levels become the lowest, and
    unequal factors of the two greens their mean. Tags are those of the DNG specification 1.4, chapter 4.

    Args:
        raw: what to write; without `camera_from_xyz`, camera RGB is taken for sRGB.
        name: what errors call it.
        exif: from `restore_hub.photo.exif.read_exif`; its make and model replace those of `raw`, whose exposure time
            replaces EXIF's.

    Raises:
        DataError: another shape or type, levels out of order.
    """
    balance = np.asarray(raw.balance, np.float64)
    black, white = [float(v) for v in raw.black], int(raw.white.min())
    _check_size(name, "uint16 mosaic", raw.mosaic, raw.mosaic.ndim == 2 and raw.mosaic.dtype == np.uint16)
    _check_levels(name, black, white, balance)
    matrix = np.linalg.inv(XYZ_FROM_SRGB) if raw.camera_from_xyz is None else raw.camera_from_xyz
    make, _, model = (raw.camera or "restore_hub").partition(" ")
    tags: dict[int, Field | Directory] = {
        MAKE: text(make),
        MODEL: text(model or make),
        **with_exposure_time(exif or {}, raw.exposure_time),
        262: numbers(SHORT, 32803),  # PhotometricInterpretation: a mosaic
        **_sensor(raw.phase, black, white),
        **_identity(raw.camera or "restore_hub", raw.orientation),
        **_colour(matrix, balance[1:3].mean() / [balance[0], balance[1:3].mean(), balance[3]]),
    }
    stops = math.log2(raw.gain) if raw.baseline_exposure is None and raw.gain else raw.baseline_exposure
    if stops is not None:
        tags[50730] = rationals(SRATIONAL, stops)  # BaselineExposure
    if raw.noise is not None:
        tags[51041] = numbers(DOUBLE, raw.noise[[0, 1, 3]].ravel())  # NoiseProfile
    return encode_tiff(tags, raw.mosaic)


def write_linear_dng(path: Path, picture: NDArray[Any], *, orientation: int = 1, exif: Directory | None = None) -> None:
    """Write a picture as an uncompressed linear DNG 1.4; whole or not at all. An older file is replaced.

    Raises:
        DataError: as `encode_linear_dng`, or a folder that cannot be written.
    """
    write_file(Path(path), encode_linear_dng(picture, str(path), orientation=orientation, exif=exif))


def encode_linear_dng(
    picture: NDArray[Any], name: str = "the picture", *, orientation: int = 1, exif: Directory | None = None
) -> bytes:
    """Return the DNG file of a picture (H, W, 3) of linear sRGB light in [0, 1], H and W at least 22.

    Values are rounded to 16 bits, values outside clipped. White balance and colour are done, as the tags say
    (AsShotNeutral 1, sRGB's own matrix); a straight tone curve keeps readers from adding contrast. The camera
    stands in EXIF's make and model only: by UniqueCameraModel, readers would choose that camera's colours.

    Args:
        picture: rows and columns as they are stored, not turned.
        name: what errors call it.
        orientation: EXIF tag 274 that readers apply.
        exif: from `restore_hub.photo.exif.read_exif`.

    Raises:
        DataError: another shape or smaller, values that are not finite.
    """
    picture = np.asarray(picture)
    _check_size(name, "picture of three colours", picture, picture.ndim == 3 and picture.shape[2] == 3)
    if not np.isfinite(picture).all():
        raise DataError("photo.not-finite", name)
    tags: dict[int, Field | Directory] = {
        MAKE: text("restore_hub"),
        MODEL: text("restore_hub"),
        **(exif or {}),
        262: numbers(SHORT, 34892),  # PhotometricInterpretation: linear
        50714: numbers(LONG, [0] * 3),  # BlackLevel
        50717: numbers(LONG, [65535] * 3),  # WhiteLevel
        50940: numbers(FLOAT, [0, 0, 1, 1]),  # ProfileToneCurve: straight from black to white
        **_identity("restore_hub linear sRGB", orientation),
        **_colour(np.linalg.inv(XYZ_FROM_SRGB), np.ones(3)),
    }
    return encode_tiff(tags, np.rint(np.clip(picture, 0, 1) * 65535).astype(np.uint16))


def _check_size(name: str, what: str, array: NDArray[Any], right: bool) -> None:
    if not right or min(array.shape[:2]) < SMALLEST_SIDE:
        raise DataError("raw.dng-array", name, wanted=what, side=SMALLEST_SIDE, found=f"{array.dtype} {array.shape}")


def _check_levels(name: str, black: list[float], white: int, balance: NDArray[np.float64]) -> None:
    if not (balance > 0).all():
        raise DataError("raw.dng-balance", name, balance=balance.tolist())
    if not 0 <= min(black) <= max(black) < white <= 65535:
        raise DataError("raw.dng-levels", name, black=black, white=white)


def _identity(camera: str, orientation: int) -> dict[int, Field]:
    return {
        274: numbers(SHORT, orientation),
        50706: numbers(BYTE, [1, 4, 0, 0]),  # DNGVersion
        50707: numbers(BYTE, [1, 1, 0, 0]),  # DNGBackwardVersion
        50708: text(camera),  # UniqueCameraModel
    }


def _sensor(phase: tuple[int, int], black: list[float], white: int) -> dict[int, Field]:
    planes = [2 * row + column for row, column in sites(phase)]  # at each site of the tile: it is its own inverse
    return {
        33421: numbers(SHORT, [2, 2]),  # CFARepeatPatternDim
        33422: numbers(BYTE, [(0, 1, 1, 2)[plane] for plane in planes]),  # CFAPattern
        50713: numbers(SHORT, [2, 2]),  # BlackLevelRepeatDim
        50714: rationals(RATIONAL, [black[plane] for plane in planes]),  # BlackLevel
        50717: numbers(LONG, white),  # WhiteLevel
    }


def _colour(matrix: ArrayLike, neutral: ArrayLike) -> dict[int, Field]:
    return {
        50721: rationals(SRATIONAL, matrix),  # ColorMatrix1
        50728: rationals(RATIONAL, neutral),  # AsShotNeutral
        50778: numbers(SHORT, _D65),  # CalibrationIlluminant1
    }
