"""The part of the Protocol Buffers wire format that ONNX files use: no schema and no dependency.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap
from typing import TypeAlias

Buffer: TypeAlias = bytes | mmap  # indexing gives a number, and a slice a copy
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10  # bytes


def fields(data: Buffer, part: slice) -> Iterator[tuple[int, int | slice]]:
    """Yield the number and the value of each field of the message at `part` of `data`.

    A value is the number itself, or the place in `data` of bytes, text, or a message.

    Raises:
        ValueError: this isn't such a message, or it's cut off.
    """
    at, end = part.start, part.stop
    while at < end:
        begin = at
        tag, at = _varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"there's no field at byte {begin}")
        if kind == _VARINT:
            value, at = _varint(data, at, end)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at, end)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"there's no field at byte {begin}")
        if size > end - at:
            raise ValueError(f"what begins at byte {begin} should have {size} bytes, and {end - at} are left")
        yield number, slice(at, at + size)
        at += size


def encode(*values: tuple[int, int | str | bytes]) -> bytes:
    """Return a message of fields (number, value); integers aren't negative, and a message is given as its bytes."""
    parts = []
    for number, value in values:
        if isinstance(value, int):
            parts += [_encode_varint(number << 3 | _VARINT), _encode_varint(value)]
        else:
            content = value.encode() if isinstance(value, str) else value
            parts += [_encode_varint(number << 3 | _BYTES), _encode_varint(len(content)), content]
    return b"".join(parts)


def _varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, lowest first, and the place after it."""
    value = 0
    for count in range(_LONGEST_VARINT):
        if at + count >= end:
            raise ValueError(f"it ends inside a number at byte {at}")
        byte = data[at + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, at + count + 1
    raise ValueError(f"there's no number at byte {at}")


def _encode_varint(value: int) -> bytes:
    content = bytearray()
    while value > 0x7F:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*content, value))
