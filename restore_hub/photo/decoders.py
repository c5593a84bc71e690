"""Decodes PNG, TIFF and JPEG with Pillow and tifffile, and turns their errors into ours."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from restore_hub.errors import DataError, UnreadableFileError, lacks_memory, reason_of
from restore_hub.photo.exif import exif_of_tiff, read_exif
from restore_hub.photo.guards import LARGEST_PICTURE, check_held, check_size
from restore_hub.photo.icc import profile_name
from restore_hub.photo.tiff import Directory

_ORIENTATION = 274  # EXIF and TIFF tag
_DNG_VERSION = 50706  # TIFF tag
_PLAIN = ("RGB", "MINISBLACK", "MINISWHITE")  # kinds of TIFF that need no conversion
# The most bytes of a picture that one byte of a file stands for; for PNG and JPEG, at one bit a pixel.
_DEFLATE, _PIXELS_A_BYTE = 1100, 8 * 1100
_RATIOS = {1: 1, 5: 2800, 8: _DEFLATE, 32946: _DEFLATE, 32773: 64}  # none, LZW, deflate twice, PackBits
# Pillow keeps the upper byte of each sample, and the lower one when it is given the other byte order.
_LOWER = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L", "RGB;16L": "RGB;16B", "RGBA;16L": "RGBA;16B"}
_LOWER |= {f"{mode};16N": f"{mode};16{'B' if sys.byteorder == 'little' else 'L'}" for mode in ("RGB", "RGBA")}
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_FIRST = "the first of several pictures in the file"


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
    """Keep what decoders print about damaged and large files off the terminal: errors and `notes` say it."""
    with quiet_tifffile(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        yield


def not_read(path: Path, error: Exception) -> DataError:
    """Return the error for a file that a decoder could not read: the file's fault, memory's or the system's."""
    if lacks_memory(error):
        return DataError("photo.no-memory", path)
    # Rights, or too many open files. EINVAL: a damaged file sends its decoder to a place that no file has.
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return DataError("photo.cannot-open", path, cause=reason_of(error))
    if isinstance(error, Image.DecompressionBombError):
        return DataError("photo.too-large", path, largest=LARGEST_PICTURE)
    if isinstance(error, UnidentifiedImageError):
        return UnreadableFileError("photo.other-format", path)
    if "MAX_TEXT" in str(error):
        return UnreadableFileError("photo.huge-text", path)
    cause = " ".join(str(error).split())
    readable = any(letter.isalpha() for letter in cause)
    return UnreadableFileError("photo.damaged", path, cause=cause if readable else "it is damaged or cut off")


class Decoded(NamedTuple):
    """A picture as it is stored.

    Attributes:
        samples: uint8 or uint16 (H, W) or (H, W, C), C at least 3.
        orientation: EXIF orientation, or whatever the file has in its place.
        icc: profile of RGB, or `None`.
        exif: see `restore_hub.photo.exif.read_exif`.
        notes: what was changed or lost.
    """

    samples: NDArray[Any]
    orientation: Any
    icc: bytes | None
    exif: Directory
    notes: tuple[str, ...]


def decode(path: Path) -> Decoded:
    """Decode a PNG, TIFF or JPEG; the content decides which.

    Raises:
        Exception: decoders raise nearly everything on damaged files; see `not_read`.
    """
    with path.open("rb") as file:
        head = file.read(4)
        if not head:
            raise UnreadableFileError("photo.empty", path)
        if head not in _TIFF_MAGIC:
            return _decode(path)
        file.seek(0)
        exif, lost = exif_of_tiff(file)
    found = _decode_tiff(path)
    more = (_FIRST,) if _has_pages(path) else ()
    return found._replace(exif=exif or {}, notes=(*found.notes, *more, *lost))


def _decode(path: Path) -> Decoded:
    """Decode what Pillow knows to uint8 (H, W, 3), or to uint16 where a PNG has 16 bits."""
    with Image.open(path, formats=("PNG", "JPEG", "TIFF")) as image:
        width, height = image.size
        if image.format != "TIFF":  # whose header says more
            check_held(path, height * width, _PIXELS_A_BYTE)
        check_size(path, height, width, LARGEST_PICTURE)
        mode, layout = image.mode, image.tile[0].args
        raw = layout[0] if isinstance(layout, tuple) else layout
        if mode in ("I", "F"):
            raise DataError("photo.samples", path, samples="32-bit samples")
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
        notes += lost if mode not in ("CMYK", "LAB") else []  # noted above, and used by Pillow
        block = None if image.format == "TIFF" else image.info.get("exif")
        exif, damaged = read_exif(block) if block else ({}, ())
    return Decoded(samples, orientation, icc, exif, (*notes, *damaged))


def _decode_tiff(path: Path) -> Decoded:
    """Decode a TIFF's first page: 16 bits with tifffile to uint16 where it can, everything else with Pillow."""
    with quiet_tifffile(), tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        if _DNG_VERSION in page.tags:  # its first page is often a thumbnail
            raise DataError("photo.is-dng", path)
        kind = _check_page(path, page)
        odd = tiff.is_bigtiff and tiff.byteorder == ">" and page.bitspersample == 8 and kind in _PLAIN
        if page.bitspersample <= 8 and not odd:  # big-endian BigTIFF is what Pillow does not know
            return _decode(path)
        check_whole(path, page)
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
    return Decoded(samples, orientation, icc, {}, (*dropped, *lost))


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
    """Return the photometric kind of a TIFF's page; refuse one of other than 8 or 16 bits, or too large."""
    kind, bits = tifffile.PHOTOMETRIC(page.photometric).name, page.bitspersample
    whole = page.sampleformat in (tifffile.SAMPLEFORMAT.UINT, tifffile.SAMPLEFORMAT.VOID) and page.imagedepth == 1
    if not whole or (bits > 8 and (bits != 16 or kind not in _PLAIN)):
        layers = f" in {page.imagedepth} layers" if page.imagedepth > 1 else ""
        raise DataError("photo.samples", path, samples=f"{kind} with {bits}-bit {page.dtype} samples{layers}")
    height, width = page.imagelength, page.imagewidth
    if page.compression in _RATIOS:
        check_held(path, height * width * page.samplesperpixel * bits // 8, _RATIOS[page.compression])
    check_size(path, height, width, LARGEST_PICTURE)
    return kind


def check_whole(path: Path, page: Any) -> None:
    """Refuse a TIFF's page that lacks strips or tiles, where tifffile would give black.

    Raises:
        UnreadableFileError: it does.
    """
    parts = math.prod(page.chunked)
    if not len(page.dataoffsets) >= parts <= len(page.databytecounts) or not all(
        (*page.dataoffsets[:parts], *page.databytecounts[:parts])
    ):
        raise UnreadableFileError("photo.parts-missing", path)


def _orientation(image: Image.Image) -> Any:
    """Return EXIF's orientation; damaged EXIF costs no more than that."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow raises nearly everything on damaged EXIF
        return 1
