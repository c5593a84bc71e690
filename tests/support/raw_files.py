"""Small RAW files of a made-up camera, and what is in them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from restore_hub.photo.raw.dng_writer import write_dng
from restore_hub.photo.raw.mosaic import RawImage

# From XYZ to a Canon EOS 6D.
MATRIX = np.array([[0.7034, -0.0804, -0.1014], [-0.4420, 1.2564, 0.2058], [-0.0851, 0.1994, 0.5758]])
RGGB = bytes((0, 1, 1, 2))  # the colours of a tile, as CFAPattern has them


def make_noise(height: int, width: int, top: int = 4096) -> np.ndarray:
    """Return a mosaic (H, W) of values below `top`."""
    return np.random.default_rng(7).integers(0, top, (height, width)).astype(np.uint16)


def make_dng(path: Path, mosaic: np.ndarray | None = None, **changes: Any) -> Path:
    """Write a mosaic as a DNG of 12 bits; changes are of `RawImage`."""
    settings: dict[str, Any] = {
        "phase": (0, 0),
        "black": np.full(4, 64, np.float32),
        "white": np.full(4, 4095, np.float32),
        "balance": np.array([2.0, 1, 1, 1.5], np.float32),
        "balance_source": "camera",
        "camera_from_xyz": MATRIX,
    }
    write_dng(path, RawImage(make_noise(30, 40) if mosaic is None else mosaic, **(settings | changes)))
    return path


def make_bare_dng(path: Path, mosaic: np.ndarray, pattern: bytes, tags: Any = (), photometric: Any = "cfa") -> Path:
    """Write a DNG with any colour pattern, square, and extra tags."""
    side = int(len(pattern) ** 0.5)
    cfa = [(33421, 3, 2, (side, side), True), (33422, 1, len(pattern), pattern, True)] if pattern else []
    head = [(50706, 1, 4, bytes((1, 4, 0, 0)), True), (50708, 2, None, "Some Camera", True)]
    tifffile.imwrite(path, mosaic, photometric=photometric, metadata=None, extratags=[*head, *cfa, *tags])
    return path


def make_grey_dng(path: Path, tags: Any = ()) -> Path:
    """Write a DNG of a monochrome sensor."""
    make_bare_dng(path, make_noise(40, 48), b"", tags, photometric="minisblack")
    tag = struct.pack("<HHI", 262, 3, 1)  # PhotometricInterpretation, whose value LinearRaw tifffile keeps for RGB
    path.write_bytes(path.read_bytes().replace(tag + struct.pack("<H", 1), tag + struct.pack("<H", 34892)))
    return path


def make_mosaic(
    path: Path, values: np.ndarray | None = None, text: str = "cfa: rggb\nwhite: 4000\n", **options: Any
) -> Path:
    """Write bare values in the format of the suffix, with a sidecar; options are tifffile's."""
    values = np.full((24, 24), 700, np.uint16) if values is None else values
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".raw":
        values.tofile(path)
    elif path.suffix == ".png":
        Image.fromarray(values).save(path)
    else:
        tifffile.imwrite(path, values, **options)
    path.with_name(path.name + ".yaml").write_text(f"{text}size: {values.shape[1]}x{values.shape[0]}\n")
    return path


def png(
    width: int, height: int, data: bytes, bits: int = 8, colour: int = 2, *more: tuple[bytes, bytes], adam7: int = 0
) -> bytes:
    """Return a PNG of any size and content; `more` are chunks before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, adam7)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
