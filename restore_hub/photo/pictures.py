"""Reads ordinary pictures: PNG, TIFF and JPEG of 8 or 16 bits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import DataError
from restore_hub.photo.decoders import decode, not_read, quiet_decoders
from restore_hub.photo.guards import check_file
from restore_hub.photo.tiff import Directory


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture the way up it should be looked at.

    Attributes:
        pixels: float32 (H, W, 3) in [0, 1]; sRGB, unless `icc` says otherwise.
        bits: bits a sample that were read, 8 or 16.
        icc: the embedded RGB profile, or `None`.
        exif: what stays true of its EXIF, see `restore_hub.photo.exif.read_exif`.
        notes: what was changed or lost while reading, a few words each.
    """

    pixels: NDArray[np.float32]
    bits: int
    icc: bytes | None = None
    exif: Directory = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def orient(picture: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn a picture (H, W, ...) from how it is stored to how it is looked at; 5 to 8 swap height and width.

    Args:
        picture: rows and columns as stored.
        orientation: EXIF tag 274, 1..8; any other value leaves the picture alone.
    """
    if orientation in (5, 6, 7, 8):
        picture = picture.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    return picture


def read_picture(path: Path) -> Picture:
    """Read a PNG, TIFF or JPEG; the content decides which, not the suffix.

    Grey becomes three equal channels, alpha is dropped, the EXIF orientation is applied.

    Raises:
        DataError: missing, more pixels than are read or than memory holds, or samples that are not 8 or 16-bit
            integers. UnreadableFileError: empty, cut off, damaged, or of another format.
    """
    path = Path(path)
    check_file(path)
    try:
        with quiet_decoders():
            samples, orientation, icc, exif, notes = decode(path)
    except DataError:
        raise
    except Exception as error:  # decoders raise nearly everything on damaged files
        raise not_read(path, error) from error
    if samples.ndim == 2:
        samples = np.repeat(samples[..., None], 3, axis=2)
    bits = 8 * samples.dtype.itemsize
    pixels = orient(samples[..., :3], orientation).astype(np.float32) / np.float32(2**bits - 1)
    return Picture(pixels, bits, icc, exif, notes)
