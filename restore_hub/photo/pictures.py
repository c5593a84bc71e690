"""Reads and writes ordinary pictures: PNG, TIFF and JPEG of 8 or 16 bits."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import math
import os
import secrets
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from restore_hub.errors import DataError, UnreadableFileError
from restore_hub.photo.exif import read_exif
from restore_hub.photo.guards import LARGEST_PICTURE, check_held, check_size, fault_of
from restore_hub.photo.icc import profile_name
from restore_hub.photo.tiff import SHORT, UNDEFINED, Directory, Field, encode_tiff, numbers

PICTURE_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
_ORIENTATION = 274  # EXIF and TIFF tag
_PHOTOMETRIC, _ICC_PROFILE, _DNG_VERSION = 262, 34675, 50706  # TIFF tags
_PLAIN = ("RGB", "MINISBLACK", "MINISWHITE")  # kinds of TIFF that need no conversion
_FOUND = "no readable PNG, TIFF or JPEG picture"
# The most bytes of a picture that one byte of a file stands for; for PNG and JPEG of a picture of one bit a pixel.
_DEFLATE, _PIXELS_A_BYTE = 1100, 8 * 1100
_RATIOS = {1: 1, 5: 2800, 8: _DEFLATE, 32946: _DEFLATE, 32773: 64}  # none, LZW, deflate twice, PackBits
# Pillow keeps the upper byte of each sample; told of the other byte order, the lower one.
_LOWER = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L", "RGB;16L": "RGB;16B", "RGBA;16L": "RGBA;16B"}
_LOWER |= {f"{mode};16N": f"{mode};16{'B' if sys.byteorder == 'little' else 'L'}" for mode in ("RGB", "RGBA")}
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_FIRST = "the first of several pictures in the file"


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
    try:
        if fault := fault_of(path):
            raise DataError(f"{path}: {fault}{', not a picture' if fault.startswith('is') else ''}")
        with path.open("rb") as file:
            head = file.read(4)
        if not head:
            raise UnreadableFileError(f"{path}: the file is empty")
        with quiet_decoders():
            samples, orientation, icc, block, notes = _decode_tiff(path) if head in _TIFF_MAGIC else _decode(path)
            notes = (*notes, _FIRST) if head in _TIFF_MAGIC and _has_pages(path) else notes
    except DataError:
        raise
    except Exception as error:  # decoders raise nearly everything on damaged files
        raise not_read(path, error, _FOUND) from error
    if samples.ndim == 2:
        samples = np.repeat(samples[..., None], 3, axis=2)
    bits = 8 * samples.dtype.itemsize
    pixels = orient(samples[..., :3], orientation).astype(np.float32) / np.float32(2**bits - 1)
    exif, lost = read_exif(block) if block else ({}, ())
    return Picture(pixels, bits, icc, exif, (*notes, *lost))


@contextlib.contextmanager
def quiet_tifffile() -> Iterator[None]:
    """Keep tifffile's log of damaged tags off the terminal."""
    log = logging.getLogger("tifffile")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


@contextlib.contextmanager
def quiet_decoders() -> Iterator[None]:
    """Keep off the terminal what decoders say of damaged and of large files: errors and `notes` say it."""
    with quiet_tifffile(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        yield


def not_read(path: Path, error: Exception, found: str) -> DataError:
    """Return the error for a file that a decoder could not read: `found`, unless memory or the system is at fault."""
    if isinstance(error, MemoryError):
        return DataError(f"{path}: not enough memory to decode it")
    # Rights, or too many open files. EINVAL: a damaged file sends its decoder to a place that no file has.
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return DataError(f"{path}: cannot be opened: {error.strerror}")
    if isinstance(error, Image.DecompressionBombError):
        return DataError(f"{path}: more than {LARGEST_PICTURE:,} pixels, the most that are read; cut it up")
    return UnreadableFileError(f"{path}: {found}: {_reason(error)}")


def _reason(error: Exception) -> str:
    """Return what a decoder says where people understand it."""
    if isinstance(error, UnidentifiedImageError):
        return "it is of another format, or damaged; convert it"
    if "MAX_TEXT" in str(error):
        return "a profile or text in it is far larger than any needs to be; save it without"
    said = " ".join(str(error).split())
    return said if any(letter.isalpha() for letter in said) else "damaged or cut off"


def write_picture(
    path: Path, array: NDArray[Any], bits: int = 8, icc: bytes | None = None, exif: Directory | None = None
) -> None:
    """Write (H, W, 3) values in [0, 1] as `encode_picture` does. The file appears whole or not at all.

    Raises:
        DataError: as `encode_picture`, or no such folder.
    """
    write_atomic(Path(path), encode_picture(path, array, bits, icc, exif))


def encode_picture(
    path: Path, array: NDArray[Any], bits: int = 8, icc: bytes | None = None, exif: Directory | None = None
) -> bytes:
    """Return the file of (H, W, 3) values in [0, 1], rounded to the nearest level; values outside are clipped.

    The suffix chooses the format: `.png`, `.tif` and `.tiff` hold 8 or 16 bits, `.jpg` and `.jpeg` 8.

    Args:
        path: where it is to go; nothing is written.
        array: the picture, the way up it should be looked at.
        bits: 8 or 16 a channel.
        icc: profile to embed.
        exif: EXIF to embed, without orientation, from `restore_hub.photo.exif.read_exif`.

    Raises:
        DataError: another suffix, shape or number of bits, values that are not finite.
    """
    path, array = Path(path), np.asarray(array)
    check_format(path, bits)
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise DataError(f"{path}: a picture has shape (H, W, 3), this array {array.shape}")
    if not np.isfinite(array).all():
        raise DataError(f"{path}: not written, because some values are not finite")
    top = 2**bits - 1
    levels = np.rint(np.clip(array, 0, 1) * top).astype(np.uint8 if bits == 8 else np.uint16)
    encode = {".png": _png, ".tif": _tiff, ".tiff": _tiff}.get(path.suffix.lower(), _jpeg)
    return encode(levels, icc, exif)


def check_format(path: Path, bits: int) -> None:
    """Refuse a suffix that no picture has, and bits a channel that its format cannot hold.

    Raises:
        DataError: either.
    """
    suffix = path.suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        raise DataError(f"{path}: cannot write {suffix or 'no suffix'}; use one of {', '.join(PICTURE_SUFFIXES)}")
    if bits not in (8, 16) or (bits == 16 and suffix in (".jpg", ".jpeg")):
        raise DataError(f"{path}: {bits} bits do not fit {suffix}; JPEG holds 8, PNG and TIFF 8 or 16")


def write_atomic(path: Path, data: bytes, temporary: Path | None = None) -> None:
    """Write a file that appears whole or not at all: a temporary one, then a rename.

    Args:
        path: where to.
        data: the content.
        temporary: a free name on the same disk; without it, one beside `path`.

    Raises:
        DataError: the folder is missing or cannot be written.
    """
    temporary = temporary or path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # a disk that became read-only refuses that too
            temporary.unlink(missing_ok=True)
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error


# Samples, orientation, profile, where EXIF is, notes.
_Decoded = tuple[NDArray[Any], Any, bytes | None, bytes | Path | None, tuple[str, ...]]


def _decode(path: Path) -> _Decoded:
    """Decode what Pillow knows to uint8 (H, W, 3), or to uint16 where a PNG has 16 bits."""
    with Image.open(path, formats=("PNG", "JPEG", "TIFF")) as image:
        width, height = image.size
        if image.format != "TIFF":  # of that, more is known
            check_held(path, height * width, _PIXELS_A_BYTE, _FOUND)
        check_size(path, height, width, LARGEST_PICTURE)
        mode, layout = image.mode, image.tile[0].args
        raw = layout[0] if isinstance(layout, tuple) else layout
        if mode in ("I", "F"):
            raise DataError(f"{path}: samples are neither 8 nor 16-bit integers; convert the picture first")
        notes = ["alpha dropped"] if mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info else []
        if mode == "CMYK":
            notes.append("CMYK converted without colour management")
        if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
            notes.append(_FIRST)
        if mode == "I;16":
            samples = np.asarray(image).astype(np.uint16)
        elif raw in _LOWER:
            with Image.open(path, formats=("PNG", "TIFF")) as again:
                lower = _LOWER[raw]
                args = (lower, *layout[1:]) if isinstance(layout, tuple) else lower
                again.tile = [tile._replace(args=args) for tile in again.tile]
                samples = np.asarray(image).astype(np.uint16) << 8 | np.asarray(again)
        else:
            if raw == "LA;16B":
                notes.append("16-bit grey with alpha read at 8 bits")
            samples = np.asarray(image.convert("RGB"))
        # After decoding: Pillow turns a TIFF upright by itself, and then removes the tag.
        orientation = _orientation(image)
        icc, lost = _rgb_profile(image.info.get("icc_profile"), mode in ("RGB", "RGBA", "P"))
        notes += lost if mode not in ("CMYK", "LAB") else []  # said above, and used by Pillow
        block = path if image.format == "TIFF" else image.info.get("exif")
    return samples, orientation, icc, block, tuple(notes)


def _decode_tiff(path: Path) -> _Decoded:
    """Decode a TIFF's first page: 16 bits with tifffile to uint16 where it can, all else with Pillow."""
    with quiet_tifffile(), tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        if _DNG_VERSION in page.tags:  # its first page is often a thumbnail
            raise DataError(f"{path}: holds a RAW file (DNG), not a picture; give it the suffix .dng")
        kind = _check_page(path, page)
        odd = tiff.is_bigtiff and tiff.byteorder == ">" and page.bitspersample == 8 and kind in _PLAIN
        if page.bitspersample <= 8 and not odd:  # big-endian BigTIFF is what Pillow does not know
            return _decode(path)
        check_whole(path, page, _FOUND)
        try:
            samples = page.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            return _decode(path)  # LZW, say, which Pillow knows
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            samples = np.moveaxis(samples, 0, -1)
        colours = 3 if kind == "RGB" else 1
        dropped = ("alpha dropped",) if samples.ndim == 3 and samples.shape[2] > colours else ()
        if colours == 1:
            samples = samples[..., 0] if samples.ndim == 3 else samples
            samples = ~samples if kind == "MINISWHITE" else samples
        icc, lost = _rgb_profile(page.iccprofile, colours == 3)
        orientation = page.tags.valueof(_ORIENTATION, 1)
    return samples, orientation, icc, path, (*dropped, *lost)


def _has_pages(path: Path) -> bool:
    """Say whether a TIFF has another page that is neither a smaller copy of the first nor its mask."""
    with tifffile.TiffFile(path) as tiff:
        try:
            second: Any = tiff.pages[1]
        except Exception:  # none; or a damaged one, which costs nothing, since it is not read
            return False
        return not (second.is_reduced or second.is_mask)


def _rgb_profile(icc: bytes | None, fits: bool) -> tuple[bytes | None, list[str]]:
    """Return the profile of a picture that becomes RGB, and a note where it is one of other colours, such as grey."""
    if icc is None or fits:
        return icc, []
    return None, [f"profile left out, since the result is RGB: {profile_name(icc)}"]


def _check_page(path: Path, page: Any) -> str:
    """Return the photometric kind of a TIFF's page; refuse one that is no picture of 8 or 16 bits, or too large."""
    kind, bits = tifffile.PHOTOMETRIC(page.photometric).name, page.bitspersample
    whole = page.sampleformat in (tifffile.SAMPLEFORMAT.UINT, tifffile.SAMPLEFORMAT.VOID) and page.imagedepth == 1
    if not whole or (bits > 8 and (bits != 16 or kind not in _PLAIN)):
        layers = f" in {page.imagedepth} layers" if page.imagedepth > 1 else ""
        raise DataError(
            f"{path}: a TIFF of {kind} with {bits}-bit {page.dtype} samples{layers} is no picture of 8 or 16-bit RGB "
            "or grey; if it is a RAW file, give it its RAW suffix, else convert it"
        )
    height, width = page.imagelength, page.imagewidth
    if page.compression in _RATIOS:
        check_held(path, height * width * page.samplesperpixel * bits // 8, _RATIOS[page.compression], _FOUND)
    check_size(path, height, width, LARGEST_PICTURE)
    return kind


def check_whole(path: Path, page: Any, found: str) -> None:
    """Refuse a TIFF's page that lacks strips or tiles, where tifffile would give black.

    Raises:
        UnreadableFileError: `found`, with the file's name.
    """
    parts = math.prod(page.chunked)
    if not len(page.dataoffsets) >= parts <= len(page.databytecounts) or not all(
        (*page.dataoffsets[:parts], *page.databytecounts[:parts])
    ):
        raise UnreadableFileError(f"{path}: {found}: parts of the picture are not in the file")


def _orientation(image: Image.Image) -> Any:
    """Return EXIF's orientation; damaged EXIF costs no more than that."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow raises nearly everything on damaged EXIF
        return 1


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
