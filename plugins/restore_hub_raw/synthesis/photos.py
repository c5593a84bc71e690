"""The photos of a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from restore_hub.errors import DataError
from restore_hub.photo.kind import PICTURE_SUFFIXES, Kind, kind_of
from restore_hub.photo.pictures import read_picture
from restore_hub.photo.raw.dng_writer import SMALLEST_SIDE


def list_photos(folder: Path) -> list[Path]:
    """Return the PNG, TIFF and JPEG files of a folder by name, except hidden ones.

    Raises:
        DataError: no such folder, or no photo in it.
    """
    if not folder.is_dir():
        raise DataError("raw-data.no-folder", folder)
    found = (file for file in folder.iterdir() if kind_of(file) is Kind.PICTURE and file.is_file())
    files = sorted(file for file in found if not file.name.startswith("."))  # macOS leaves `._NAME` beside NAME
    if not files:
        raise DataError("raw-data.no-photos", folder, suffixes=", ".join(PICTURE_SUFFIXES))
    return files


def read_photo(file: Path, size: int | None) -> NDArray[np.float32]:
    """Read a photo (H, W, 3), reduced to a longest side of at most `size`.

    Raises:
        DataError: too small for a RAW file, or as `read_picture`.
    """
    photo = read_picture(file).pixels
    height, width, _ = photo.shape
    longest = max(height, width)
    if size is not None and longest > size:
        height, width = round(height * size / longest), round(width * size / longest)
    if min(height, width) < SMALLEST_SIDE:
        raise DataError("raw-data.photo-too-small", file, height=height, width=width, smallest=SMALLEST_SIDE)
    if photo.shape[:2] == (height, width):
        return photo
    lanczos = Image.Resampling.LANCZOS
    planes = [np.asarray(Image.fromarray(photo[..., c]).resize((width, height), lanczos)) for c in range(3)]
    return np.asarray(np.clip(np.stack(planes, axis=-1), 0, 1), np.float32)
