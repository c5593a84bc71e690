from __future__ import annotations

import io
import math
import struct

import numpy as np
import pytest
import tifffile

from restore_hub.photo.tiff import (
    ASCII,
    DOUBLE,
    LONG,
    RATIONAL,
    SHORT,
    SRATIONAL,
    Directory,
    Field,
    encode_tiff,
    numbers,
    rationals,
    read_directory,
    read_header,
    text,
)
from support import refused

FIELDS: dict[int, Field | Directory] = {
    270: text("Grüße, odd"),
    271: text("abc"),
    34850: numbers(SHORT, [1, 2, 3]),
    33434: rationals(RATIONAL, 1 / 3),
    37380: rationals(SRATIONAL, [-0.5, 2]),
    51041: numbers(DOUBLE, [1.5, -2.25]),
    34665: {40000: numbers(LONG, 7), 40001: text("inside")},
}


def test_what_is_encoded_reads_back() -> None:
    file = io.BytesIO(encode_tiff(FIELDS))
    back = read_directory(file, *read_header(file), set(FIELDS))
    (place,) = struct.unpack("<I", back.pop(34665).data)
    assert back == {code: field for code, field in FIELDS.items() if code != 34665}
    assert read_directory(file, "<", place, {40000, 40001}) == FIELDS[34665]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 7, 3), (5, 7)])
def test_tifffile_sees_the_same(shape: tuple[int, ...], dtype: type) -> None:
    samples = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    kind = numbers(SHORT, 2 if len(shape) == 3 else 1)
    with tifffile.TiffFile(io.BytesIO(encode_tiff({**FIELDS, 262: kind}, samples))) as file:
        page = file.pages.first
        np.testing.assert_array_equal(page.asarray(), samples)
        assert page.tags.valueof(33434) == (1, 3)
        assert page.tags.valueof(37380) == (-1, 2, 2, 1)
        assert page.tags.valueof(51041) == (1.5, -2.25)
        assert page.tags.valueof(34850) == (1, 2, 3)
        assert [tag.code for tag in page.tags] == sorted(tag.code for tag in page.tags)


def test_big_endian_reads_alike() -> None:
    data = struct.pack(">4sIHHHI2sHHHIII", b"MM\0*", 8, 2, 34855, 3, 1, b"\x03\xe8", 0, 33434, 5, 1, 38, 0)
    data += struct.pack(">II", 1, 250)
    file = io.BytesIO(data)
    assert read_header(file) == (">", 8)
    fields = read_directory(file, ">", 8, {34855, 33434})
    assert fields == {34855: numbers(SHORT, 1000), 33434: rationals(RATIONAL, 1 / 250)}


@pytest.mark.parametrize("value", [0, 1e-7, 1 / 8000, 0.3, 1e5 * math.pi, 2.0**31, 4294967295.0])
def test_rationals_fit_32_bits(value: float) -> None:
    top, bottom = struct.unpack("<II", rationals(RATIONAL, value).data)
    assert top / bottom == pytest.approx(value, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("padding", [0, 2**17])
@pytest.mark.parametrize(
    ("kind", "length", "place"),
    [(ASCII, 2**17 + 1, 26), (ASCII, 5, 2**32 - 1), (99, 1, 0), (RATIONAL, 2**31, 26), (0, 1, 0)],
)
def test_senseless_fields_are_errors_only_where_wanted(kind: int, length: int, place: int, padding: int) -> None:
    file = io.BytesIO(struct.pack("<4sIHHHIII", b"II*\0", 8, 1, 271, kind, length, place, 0) + bytes(padding))
    assert read_directory(file, "<", 8, {272}) == {}
    with pytest.raises(ValueError):
        read_directory(file, "<", 8, {271})


def test_empty_fields_say_nothing() -> None:
    blank = {315: Field(ASCII, b"  \0"), 33432: Field(ASCII, b""), 270: text("x")}
    assert read_directory(io.BytesIO(encode_tiff(blank)), "<", 8, set(blank)) == {270: text("x")}


def test_a_picture_of_more_than_4_gib_is_refused() -> None:
    with refused("photo.tiff-too-large", width=40000, height=40000):
        encode_tiff({}, np.broadcast_to(np.uint16(0), (40000, 40000, 3)))


@pytest.mark.parametrize("head", [b"", b"II*\0", b"II+\0\x08\0\0\0\x10", b"HEAPCCDR", b"\x89PNG\r\n\x1a\n"])
def test_other_files_have_no_header(head: bytes) -> None:
    assert read_header(io.BytesIO(head)) is None
