"""Writes ordinary pictures: PNG and TIFF of 8 or 16 bits, JPEG of 8."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from restore_hub.errors import DataError
from restore_hub.files import write_file
from restore_hub.photo.kind import PICTURE_SUFFIXES
from restore_hub.photo.tiff import SHORT, UNDEFINED, Directory, Field, encode_tiff, numbers

_PHOTOMETRIC, _ICC_PROFILE = 262, 34675  # TIFF tags


def write_picture(
    path: Path, array: NDArray[Any], bits: int = 8, icc: bytes | None = None, exif: Directory | None = None
) -> None:
    """Write (H, W, 3) values in [0, 1] as `encode_picture` does. The file appears whole or not at all.

    Raises:
        DataError: as `encode_picture`, or the folder is missing.
    """
    write_file(Path(path), encode_picture(path, array, bits, icc, exif))


def encode_picture(
    path: Path, array: NDArray[Any], bits: int = 8, icc: bytes | None = None, exif: Directory | None = None
) -> bytes:
    """Return the file of (H, W, 3) values in [0, 1], rounded to the nearest level; values outside are clipped.

    The suffix chooses the format: `.png`, `.tif` and `.tiff` hold 8 or 16 bits, `.jpg` and `.jpeg` 8.

    Args:
        path: where it will go; nothing is written.
        array: the picture, upright.
        bits: 8 or 16 a channel.
        icc: profile to embed.
        exif: EXIF to embed, without orientation, from `restore_hub.photo.exif.read_exif`.

    Raises:
        DataError: another suffix, shape or number of bits, values that are not finite.
    """
    path, array = Path(path), np.asarray(array)
    check_format(path, bits)
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise DataError("photo.bad-shape", path, shape=array.shape)
    if not np.isfinite(array).all():
        raise DataError("photo.not-finite", path)
    top = 2**bits - 1
    levels = np.rint(np.clip(array, 0, 1) * top).astype(np.uint8 if bits == 8 else np.uint16)
    encode = {".png": _png, ".tif": _tiff, ".tiff": _tiff}.get(path.suffix.lower(), _jpeg)
    return encode(levels, icc, exif)


def check_format(path: Path, bits: int) -> None:
    """Refuse a suffix that isn't a picture's, and bits a channel that its format cannot hold.

    Raises:
        DataError: either.
    """
    suffix = path.suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        known = ", ".join(PICTURE_SUFFIXES)
        raise DataError("photo.unknown-suffix", path, suffix=suffix or "a name without a suffix", known=known)
    if bits not in (8, 16) or (bits == 16 and suffix in (".jpg", ".jpeg")):
        raise DataError("photo.bits", path, bits=bits, suffix=suffix)


def _jpeg(levels: NDArray[Any], icc: bytes | None, exif: Directory | None) -> bytes:
    buffer, block = io.BytesIO(), b"Exif\0\0" + encode_tiff(exif) if exif else b""
    Image.fromarray(levels).save(buffer, "JPEG", quality=95, subsampling=0, icc_profile=icc, exif=block)
    return buffer.getvalue()


def _tiff(levels: NDArray[Any], icc: bytes | None, exif: Directory | None) -> bytes:
    profile = {_ICC_PROFILE: Field(UNDEFINED, icc)} if icc else {}
    return encode_tiff({**(exif or {}), **profile, _PHOTOMETRIC: numbers(SHORT, tifffile.PHOTOMETRIC.RGB)}, levels)


def _png(levels: NDArray[Any], icc: bytes | None, exif: Directory | None) -> bytes:
    """Encode uint8 or uint16 (H, W, 3); Pillow writes no RGB of 16 bits (PNG specification, sections 5, 9 and 11)."""
    height, width, _ = levels.shape
    rows = np.ascontiguousarray(levels, levels.dtype.newbyteorder(">")).view(np.uint8).reshape(height, -1)
    up = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))  # filter 2: byte minus the one above, mod 256
    filtered = np.concatenate([np.full((height, 1), 2, np.uint8), up], axis=1)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8 * levels.dtype.itemsize, 2, 0, 0, 0))]
    chunks += [(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc))] if icc else []
    chunks += [(b"eXIf", encode_tiff(exif))] if exif else []
    chunks += [(b"IDAT", zlib.compress(filtered.tobytes(), 6)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
