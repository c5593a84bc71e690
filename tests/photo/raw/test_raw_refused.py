"""RAW files that are refused: unknown layouts, other files, damage."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from restore_hub.errors import DataError, UnreadableFileError
from restore_hub.photo.raw.reader import read_raw, render_raw
from support import refused
from support.raw_files import RGGB, make_bare_dng, make_dng, make_grey_dng, make_noise


def test_a_header_that_promises_more_than_the_file_holds(tmp_path: Path) -> None:
    path = make_bare_dng(tmp_path / "a.dng", make_noise(40, 40), RGGB)
    data = bytearray(path.read_bytes())
    for code in (256, 257):  # ImageWidth, ImageLength
        place = max(data.find(struct.pack("<HH", code, kind)) for kind in (3, 4))
        data[place + 2 : place + 12] = struct.pack("<HII", 4, 1, 30000)
    path.write_bytes(data)
    with refused("photo.header-lies", path, UnreadableFileError):
        read_raw(path)


def test_other_sensors_are_refused_by_name(tmp_path: Path) -> None:
    trans = b"\1\1\0\1\1\2\1\1\2\1\1\0\2\0\1\0\2\1\1\1\2\1\1\0\1\1\0\1\1\2\0\2\1\2\0\1"
    make_bare_dng(tmp_path / "trans.dng", make_noise(72, 72), trans)
    make_bare_dng(
        tmp_path / "four.dng", make_noise(40, 40), bytes((3, 4, 5, 1)), [(50710, 1, 4, bytes((3, 4, 5, 1)), True)]
    )
    make_bare_dng(tmp_path / "stripes.dng", make_noise(40, 40), bytes((0, 1, 2, 1)))
    make_bare_dng(tmp_path / "linear.dng", np.dstack([make_noise(40, 40)] * 3), b"", photometric=34892)
    make_grey_dng(tmp_path / "grey.dng")
    layouts = {"trans": "X-Trans", "four": "a mosaic of GM/CY tiles", "stripes": "a mosaic of RG/BG tiles"}
    layouts |= {"linear": "3 colours at every pixel", "grey": "a monochrome sensor"}
    for name, words in layouts.items():
        with refused("raw.unknown-layout", tmp_path / f"{name}.dng", readers="raw/bayer") as caught:
            read_raw(tmp_path / f"{name}.dng")
        assert words in caught.value.facts["layout"]


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.dng").touch()
    (tmp_path / "text.dng").write_text("hello " * 1000)
    (tmp_path / "short.dng").write_text("hello\n")
    (tmp_path / "sigma.x3f").write_bytes(b"FOVb" + bytes(2000))
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((40, 40, 3), np.uint16), photometric="rgb")
    codes = {"text.dng": "raw.unknown-format", "short.dng": "raw.unknown-format", "sigma.x3f": "raw.unknown-layout"}
    codes |= {"empty.dng": "photo.empty", "rgb.tif": "raw.no-sidecar", "missing.dng": "photo.missing"}
    for name, code in {**codes, ".": "photo.is-folder"}.items():
        for reader in (read_raw, render_raw):
            with refused(code, tmp_path / name, DataError):
                reader(tmp_path / name)


@pytest.mark.parametrize("part", [0.01, 0.05, 0.3, 0.99])
def test_a_file_cut_off_is_refused(tmp_path: Path, part: float) -> None:
    path = make_dng(tmp_path / "a.dng", make_noise(64, 64))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with refused("raw.cut-off", path, UnreadableFileError):
        read_raw(path)


def test_damaged_bytes_never_escape_as_another_error(tmp_path: Path) -> None:
    path = make_dng(tmp_path / "a.dng", make_noise(40, 40))
    data, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(100):
        broken = bytearray(data)
        for place in rng.integers(0, 600, 5):
            broken[place] = rng.integers(256)
        path.write_bytes(broken)
        try:
            read_raw(path)
        except DataError:
            refused += 1
    assert refused > 20


def test_values_without_a_header_are_refused(tmp_path: Path) -> None:
    # LibRaw takes a file of this size for the picture of one particular camera.
    (tmp_path / "a.raw").write_bytes(bytes(1920 * 1080 * 2))
    with refused("raw.no-header", tmp_path / "a.raw", sidecar="a.raw.yaml"):
        read_raw(tmp_path / "a.raw")
