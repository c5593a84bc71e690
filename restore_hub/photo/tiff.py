"""TIFF directories, which EXIF and DNG use too, and pictures of one uncompressed strip (TIFF 6.0)."""

from __future__ import annotations

import struct
from collections.abc import Container, Mapping
from fractions import Fraction
from typing import Any, BinaryIO, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from restore_hub.errors import DataError

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL, FLOAT, DOUBLE = 1, 2, 3, 4, 5, 7, 10, 11, 12  # field types
# Bytes of one value, and of what changes places with the byte order; 13 is IFD, 129 EXIF 3.0's UTF-8.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
_WORDS = _SIZES | {RATIONAL: 4, SRATIONAL: 4}
_NUMBERS = {BYTE: "u1", SHORT: "<u2", LONG: "<u4", FLOAT: "<f4", DOUBLE: "<f8"}
# How a TIFF begins, and how Olympus', Panasonic's and Leica's variants do, which differ in these bytes only.
_MAGIC = (b"II*\0", b"MM\0*", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
_LARGEST = 2**16  # bytes of one field: more than any fact takes, and more than fits a JPEG
Order = Literal["<", ">"]


class Field(NamedTuple):
    """The values of one tag.

    Attributes:
        kind: TIFF's field type.
        data: the values, little-endian.
    """

    kind: int
    data: bytes


# Tag to field, or to the directory that the tag points to.
Directory: TypeAlias = "Mapping[int, Field | Directory]"


def text(value: str) -> Field:
    """Return a field of text, in UTF-8 where ASCII does not suffice, as cameras and programs write it."""
    return Field(ASCII, value.encode(errors="replace") + b"\0")


def numbers(kind: int, values: ArrayLike) -> Field:
    """Return a field of BYTE, SHORT, LONG, FLOAT or DOUBLE values."""
    return Field(kind, np.asarray(values, _NUMBERS[kind]).tobytes())


def rationals(kind: int, values: ArrayLike) -> Field:
    """Return a field of RATIONAL or SRATIONAL values, to six digits or what 32 bits hold."""
    data = b""
    for value in np.ravel(values):
        low, high = (0, 2**32) if kind == RATIONAL else (-(2**31), 2**31)
        if not low <= value < high:
            raise DataError("photo.rational-range", value=value, low=low, high=high)
        limit = max(1, min(1_000_000, int(2**31 / (abs(float(value)) + 1))))
        fraction = Fraction(float(value)).limit_denominator(limit)
        data += struct.pack("<II" if kind == RATIONAL else "<ii", fraction.numerator, fraction.denominator)
    return Field(kind, data)


def read_header(file: BinaryIO) -> tuple[Order, int] | None:
    """Return byte order and place of the first directory; `None` where `file` isn't a TIFF (or is a BigTIFF)."""
    head = file.read(8)
    if len(head) < 8 or head[:4] not in _MAGIC:
        return None
    order: Order = "<" if head[:2] == b"II" else ">"
    return order, struct.unpack(order + "I", head[4:])[0]


def read_directory(file: BinaryIO, order: Order, place: int, wanted: Container[int]) -> dict[int, Field]:
    """Read the fields of the directory at `place` that are wanted and not empty.

    Raises:
        ValueError: the directory, or the values of a wanted field, lie outside the file or make no sense.
    """
    file.seek(place)
    (count,) = struct.unpack(order + "H", _take(file, 2))
    fields = {}
    for code, kind, length, slot in struct.iter_unpack(order + "HHI4s", _take(file, 12 * count)):
        if code not in wanted or length == 0:
            continue
        size = length * _SIZES.get(kind, _LARGEST + 1)
        if size > _LARGEST:
            raise ValueError(f"{length} values of type {kind} in tag {code}")
        data = slot[:size]
        if size > 4:
            file.seek(struct.unpack(order + "I", slot)[0])
            data = _take(file, size)
        if kind != ASCII or data.strip(b"\0 "):
            word = _WORDS[kind]
            fields[code] = Field(kind, np.frombuffer(data, f"{order}u{word}").astype(f"<u{word}").tobytes())
    return fields


def encode_tiff(directory: Directory, samples: NDArray[Any] | None = None) -> bytes:
    """Return a TIFF file of a directory and those it points to; the same input gives the same bytes.

    Args:
        directory: what to write; with samples, at least PhotometricInterpretation (262).
        samples: uint8 or uint16 (H, W) or (H, W, C), the picture of the directory.

    Raises:
        DataError: more samples than the 4 GiB of a TIFF hold.
    """
    head = b"II*\0\10\0\0\0"
    if samples is None:
        return head + _encode(directory, len(head))
    if samples.nbytes > 2**32 - 2**20:
        raise DataError("photo.tiff-too-large", width=samples.shape[1], height=samples.shape[0])
    size = len(_encode({**directory, **_layout(samples, 0)}, len(head)))
    tags = _encode({**directory, **_layout(samples, len(head) + size)}, len(head))
    return b"".join((head, tags, np.ascontiguousarray(samples, samples.dtype.newbyteorder("<")).tobytes()))


def _take(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise ValueError("cut off")
    return data


def _layout(samples: NDArray[Any], place: int) -> dict[int, Field]:
    """Return the tags that say how samples lie in one strip at `place`."""
    height, width, *rest = samples.shape
    colours = rest[0] if rest else 1
    return {
        254: numbers(LONG, 0),  # NewSubfileType
        256: numbers(LONG, width),
        257: numbers(LONG, height),
        258: numbers(SHORT, [8 * samples.dtype.itemsize] * colours),  # BitsPerSample
        259: numbers(SHORT, 1),  # Compression: none
        273: numbers(LONG, place),  # StripOffsets
        277: numbers(SHORT, colours),  # SamplesPerPixel
        278: numbers(LONG, height),  # RowsPerStrip
        279: numbers(LONG, samples.nbytes),  # StripByteCounts
        282: rationals(RATIONAL, 1),  # XResolution, which baseline TIFF asks for
        283: rationals(RATIONAL, 1),  # YResolution
        284: numbers(SHORT, 1),  # PlanarConfiguration: colours side by side
        296: numbers(SHORT, 1),  # ResolutionUnit: none
    }


def _encode(directory: Directory, start: int) -> bytes:
    """Encode a directory for the place `start`: entries in order of their tags, then all that does not fit them."""
    place = start + 2 + 12 * len(directory) + 4
    entries, rest = struct.pack("<H", len(directory)), b""
    for code in sorted(directory):
        value, here = directory[code], place + len(rest)
        if not isinstance(value, Field):
            entries += struct.pack("<HHII", code, LONG, 1, here)
            rest += _encode(value, here)
            continue
        kind, data = value
        entries += struct.pack("<HHI", code, kind, len(data) // _SIZES[kind])
        entries += data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", here)
        rest += data + bytes(len(data) % 2) if len(data) > 4 else b""
    return entries + bytes(4) + rest
