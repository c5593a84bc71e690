"""Decoded files kept in memory, since decoding a RAW file takes longer than training on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from restore_hub.photo.kind import kind_of
from restore_hub.photo.pictures import read_picture
from restore_hub.photo.raw.mosaic import RawImage
from restore_hub.photo.raw.reader import read_raw, render_raw

Content = TypeVar("Content", RawImage, NDArray[np.uint16])


class DecodedCache:
    """Keeps what readers return, up to a size; it never drops anything, since every epoch reads every file."""

    def __init__(self, megabytes: int) -> None:
        self._room = megabytes * 2**20
        self._kept: dict[tuple[Any, Path], Any] = {}

    def get(self, read: Callable[[Path], Content], path: Path) -> Content:
        """Return `read(path)`, from memory where possible."""
        key = (read, path)
        if key not in self._kept:
            content = read(path)
            size = content.mosaic.nbytes if isinstance(content, RawImage) else content.nbytes
            if size > self._room:
                return content
            self._room -= size
            self._kept[key] = content
        kept: Content = self._kept[key]
        return kept


def read_short(path: Path) -> RawImage:
    """Return a RAW file as `restore` reads it, hot pixels repaired.

    Raises:
        DataError, UnreadableFileError: as `read_raw`.
    """
    return read_raw(path, repair=True)


def read_reference(path: Path) -> NDArray[np.uint16]:
    """Return sRGB (H, W, 3), 65535 for 1: a RAW file rendered with the camera's white balance, or a picture.

    Raises:
        DataError, UnreadableFileError: as `render_raw` and `read_picture`.
    """
    if kind_of(path).is_raw:
        return render_raw(path)
    return np.rint(read_picture(path).pixels * 65535).astype(np.uint16)
