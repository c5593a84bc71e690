"""The EXIF of a photograph, reduced to what stays true after it is restored (EXIF 2.32, section 4.6)."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from restore_hub.errors import DataError
from restore_hub.photo.tiff import (
    BYTE,
    RATIONAL,
    SHORT,
    UNDEFINED,
    Directory,
    Field,
    encode_tiff,
    numbers,
    rationals,
    read_directory,
    read_header,
    text,
)

MAKE, MODEL, SOFTWARE, EXPOSURE_TIME = 271, 272, 305, 33434
_DATE, _ARTIST, _EXIF_IFD, _GPS_IFD, _VERSION, _COMMENT = 36867, 315, 34665, 34853, 36864, 37510
# ImageDescription, Make, Model, DateTime, Artist, Copyright. Sizes, orientation, thumbnails, maker notes are dropped.
_MAIN = frozenset((270, MAKE, MODEL, 306, _ARTIST, 33432))
# fmt: off
_PHOTO = frozenset((
    EXPOSURE_TIME, 33437, 34850,  # FNumber, ExposureProgram
    34855, *range(34864, 34870),  # ISO speed in all its forms
    _VERSION, _DATE, 36868, 36880, 36881, 36882, 37520, 37521, 37522,  # dates, their offsets and parts of a second
    *range(37377, 37387),  # shutter speed, aperture, brightness, exposure bias, metering, light, flash, focal length
    _COMMENT, 41483, 41493, 41495, 41728, 41729,  # FlashEnergy, ExposureIndex, SensingMethod, FileSource, SceneType
    *range(41986, 41992), 41996,  # ExposureMode, WhiteBalance, DigitalZoom, 35 mm focal length, SceneType, GainControl
    42032, 42033, 42034, 42035, 42036, 42037,  # owner, and serial numbers, makes and models of body and lens
))
# fmt: on
_GPS = frozenset(range(32)) - {27, 28}  # the two may hold text in the byte order of the whole
_LARGEST = 2**16 - 256  # bytes in a JPEG, with room for a few more tags
_LOST = ("EXIF could not be read and is left out",)
# The letters of a comment, by the eight bytes before it; anything else there is taken for ASCII or UTF-8.
_ASCII, _UNICODE, _JIS = b"ASCII\0\0\0", b"UNICODE\0", b"JIS\0\0\0\0\0"
_LETTERS = {_UNICODE: "utf-16-le", _JIS: "iso2022_jp"}


def read_exif(block: bytes) -> tuple[Directory, tuple[str, ...]]:
    """Return what stays true of a photograph's EXIF, and notes: one when it is damaged, and then left out whole.

    Orientation is never kept: the code that writes the picture knows it.

    Args:
        block: an EXIF block, with or without `Exif` before it.

    Returns:
        The main directory, with those of the exposure (tag 34665) and of the place (34853) inside; empty for none.
    """
    kept, notes = exif_of_tiff(io.BytesIO(block.removeprefix(b"Exif\0\0")))
    return ({}, _LOST) if kept is None else (kept, notes)


def exif_of_tiff(file: BinaryIO) -> tuple[Directory | None, tuple[str, ...]]:
    """Return the EXIF of an open TIFF or TIFF-like RAW file as `read_exif` does; `None` for files of another kind."""
    try:
        return _kept(file), ()
    except (ValueError, OverflowError, OSError, struct.error, DataError):
        return {}, _LOST


def exif_from_libraw(raw: Any) -> tuple[Directory, tuple[str, ...]]:
    """Return the few facts that LibRaw knows of an open RAW file as `read_exif` does."""
    try:
        return _from_libraw(raw), ()
    except (ValueError, OverflowError, DataError):
        return {}, _LOST


def with_exposure_time(exif: Directory, seconds: float | None) -> Directory:
    """Return EXIF with another exposure time; `None` leaves it alone."""
    if seconds is None:
        return exif
    photo = exif.get(_EXIF_IFD, {})
    assert not isinstance(photo, Field)
    return _directory(exif, {**photo, EXPOSURE_TIME: rationals(RATIONAL, seconds)})


def user_comment(exif: Directory) -> str:
    """Return the comment of a person or program on the photograph (tag 37510), or an empty text."""
    photo = exif.get(_EXIF_IFD, {})
    comment = None if isinstance(photo, Field) else photo.get(_COMMENT)
    if not isinstance(comment, Field) or comment.kind not in (UNDEFINED, BYTE):
        return ""  # programs write bytes too
    code, letters = comment.data[:8], comment.data[8:]
    return letters.decode(_LETTERS.get(code, "utf-8"), errors="replace").strip("\0\ufeff \n")


def with_user_comment(exif: Directory, comment: str) -> Directory:
    """Return EXIF with another comment, of ASCII letters."""
    photo = exif.get(_EXIF_IFD, {})
    assert not isinstance(photo, Field)
    return _directory(exif, {**photo, _COMMENT: Field(UNDEFINED, _ASCII + comment.encode("ascii"))})


def _kept(file: BinaryIO) -> Directory | None:
    """Return what is kept of a TIFF, `None` for other files. TIFF/EP has the exposure in the main directory."""
    header = read_header(file)
    if header is None:
        return None
    order, place = header
    main = read_directory(file, order, place, _MAIN | _PHOTO | {_EXIF_IFD, _GPS_IFD})
    places = {code: struct.unpack_from("<I", main.pop(code).data)[0] for code in (_EXIF_IFD, _GPS_IFD) if code in main}
    photo = {code: main.pop(code) for code in _PHOTO & main.keys()}
    if places.get(_EXIF_IFD):
        photo |= read_directory(file, order, places[_EXIF_IFD], _PHOTO)
    if _COMMENT in photo and order == ">":
        photo[_COMMENT] = _little_endian(photo[_COMMENT])
    gps = read_directory(file, order, places[_GPS_IFD], _GPS) if places.get(_GPS_IFD) else {}
    kept = _directory(main, photo, gps)
    if len(encode_tiff(kept)) > _LARGEST:
        raise ValueError("too large")
    return kept


def _little_endian(comment: Field) -> Field:
    """Return a comment in little-endian order: Unicode letters have the byte order of the file, unknown to TIFF."""
    kind, data = comment
    if data[:8] != _UNICODE or len(data) % 2:
        return comment
    return Field(kind, _UNICODE + np.frombuffer(data[8:], ">u2").astype("<u2").tobytes())


def _directory(main: Directory, photo: Directory, gps: Directory | None = None) -> Directory:
    directories: dict[int, Field | Directory] = {}
    if photo.keys() - {_VERSION}:
        directories[_EXIF_IFD] = {_VERSION: Field(UNDEFINED, b"0232"), **photo}
    if gps:
        directories[_GPS_IFD] = gps
    return {**main, **directories}


def _from_libraw(raw: Any) -> Directory:
    other, lens = raw.other, raw.lens
    date = f"{other.timestamp:%Y:%m:%d %H:%M:%S}" if other.timestamp.year > 1970 else ""
    facts: dict[int, tuple[Any, Callable[[Any], Field]]] = {
        EXPOSURE_TIME: (other.shutter_speed, _rational),
        33437: (other.aperture, _rational),
        34855: (min(round(other.iso_speed), 65535), lambda speed: numbers(SHORT, speed)),
        _DATE: (date, text),
        37386: (other.focal_length, _rational),
        42035: (lens.make, text),
        42036: (lens.model, text),
    }
    photo = {code: field(value) for code, (value, field) in facts.items() if value}  # LibRaw gives 0 for unknown
    return _directory({_ARTIST: text(other.artist)} if other.artist else {}, photo)


def _rational(value: float) -> Field:
    return rationals(RATIONAL, value)
