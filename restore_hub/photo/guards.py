"""A file that is to be read: is it one, and is there room for what its header promises? Asked before it is decoded."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import rawpy

from restore_hub.errors import DataError, UnreadableFileError
from restore_hub.machine import available_memory

LARGEST = 2**28  # values of a mosaic: above any sensor of one exposure, below what fills a small machine
LARGEST_PICTURE = 178_956_970  # pixels: from there on Pillow refuses a picture
AROUND = 64  # bytes for each pixel that reading and writing a picture take beside the graph


def fault_of(path: Path) -> str:
    """Say what stands in the place of a file; an empty text where one is there.

    Raises:
        OSError: rights, or a name too long.
    """
    if path.is_file():
        return ""
    if path.is_dir():
        return "is a folder"
    return "is no ordinary file" if path.exists() else "no such file"


def check_size(path: Path, height: int, width: int, largest: int = LARGEST) -> None:
    """Refuse more pixels than are read, or than the free memory holds.

    Raises:
        DataError: either.
    """
    if height * width > largest:
        raise DataError(
            f"{path}: {width} x {height} pixels are more than {largest:,}, the most that are read; cut it up"
        )
    needed, free = AROUND * height * width, available_memory()
    if needed > free:
        raise DataError(
            f"{path}: not enough memory to read it: {width} x {height} pixels need some {needed / 2**30:.2g} GiB, and "
            f"{free / 2**30:.2g} GiB are free"
        )


def check_held(path: Path, promised: int, ratio: int, found: str) -> None:
    """Refuse a header that promises more than the file can hold.

    Args:
        path: the file.
        promised: bytes, decoded.
        ratio: the most bytes that one byte of the file may stand for.
        found: what the file is no readable one of.

    Raises:
        UnreadableFileError: it does.
    """
    size = path.stat().st_size
    if promised > ratio * size:
        raise UnreadableFileError(f"{path}: {found}: its header promises more than its {size} bytes hold; damaged")


def open_raw(source: Path | bytes) -> Any:
    """Open a RAW file, or its content, with LibRaw; names that are no UTF-8 too.

    Raises:
        rawpy.LibRawError, OSError: it cannot be.
    """
    if isinstance(source, Path):
        try:
            str(source).encode()
        except UnicodeEncodeError:
            source = source.read_bytes()
    return rawpy.imread(io.BytesIO(source) if isinstance(source, bytes) else str(source))
