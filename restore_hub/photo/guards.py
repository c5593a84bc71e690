"""What is checked before a file is decoded: that there is one, and that memory holds what its header promises."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import rawpy

from restore_hub.errors import DataError, UnreadableFileError, reason_of
from restore_hub.machine import available_memory

LARGEST = 2**28  # values of a mosaic: more than any sensor has, less than what fills a small machine
LARGEST_PICTURE = 178_956_970  # pixels: Pillow refuses larger pictures
AROUND = 64  # bytes a pixel that reading and writing a picture take besides the graph


def check_file(path: Path) -> None:
    """Refuse what isn't a file.

    Raises:
        DataError: nothing is there, it is a folder or a device, or the system refuses access.
    """
    try:
        if path.is_file():
            return
        if path.is_dir():
            raise DataError("photo.is-folder", path)
        if path.exists():
            raise DataError("photo.no-ordinary-file", path)
    except OSError as error:  # rights, or a name too long
        raise DataError("photo.cannot-open", path, cause=reason_of(error)) from error
    raise DataError("photo.missing", path)


def check_size(path: Path, height: int, width: int, largest: int = LARGEST) -> None:
    """Refuse more pixels than the limit, or than the free memory holds.

    Raises:
        DataError: either.
    """
    if height * width > largest:
        raise DataError("photo.too-large", path, largest=largest)
    needed, free = AROUND * height * width, available_memory()
    if needed > free:
        raise DataError(
            "photo.too-little-memory", path, width=width, height=height, needed=needed / 2**30, free=free / 2**30
        )


def check_held(path: Path, promised: int, ratio: int) -> None:
    """Refuse a header that promises more than the file can hold.

    Args:
        path: the file.
        promised: bytes, decoded.
        ratio: the most bytes that one byte of the file may stand for.

    Raises:
        UnreadableFileError: it does.
    """
    size = path.stat().st_size
    if promised > ratio * size:
        raise UnreadableFileError("photo.header-lies", path, size=size)


def open_raw(source: Path | bytes) -> Any:
    """Open a RAW file, or its content, with LibRaw; its name needn't be UTF-8.

    Raises:
        rawpy.LibRawError, OSError: it cannot be.
    """
    if isinstance(source, Path):
        try:
            str(source).encode()
        except UnicodeEncodeError:
            source = source.read_bytes()
    return rawpy.imread(io.BytesIO(source) if isinstance(source, bytes) else str(source))
