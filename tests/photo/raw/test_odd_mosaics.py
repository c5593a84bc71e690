"""Odd and hostile RAW files and mosaics with a sidecar."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile

from restore_hub.errors import UnreadableFileError
from restore_hub.model.model import Model
from restore_hub.model.sequence import load
from restore_hub.photo.pictures import read_picture
from restore_hub.photo.raw.reader import read_raw
from restore_hub.runtime.restore import restore
from support import refused
from support.raw_files import make_dng, make_mosaic, make_noise, png

SIZES = [(1, 1), (1, 7), (7, 1), (2, 2), (3, 5)]


@pytest.fixture(scope="module")
def chain(models: Path) -> Model:
    return load(models / "chain.onnx")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("suffix", [".npy", ".raw", ".tif"])
def test_the_smallest_mosaics(chain: Model, tmp_path: Path, size: tuple[int, int], suffix: str) -> None:
    path = make_mosaic(tmp_path / f"m{suffix}", np.full(size, 700, np.uint16), "cfa: gbrg\nwhite: 4000\n")
    done = restore(chain, path, tmp_path / "o.png")
    assert (done.height, done.width) == size
    assert read_picture(tmp_path / "o.png").pixels.shape == (*size, 3)
    with refused("raw.dng-array", tmp_path / "o.dng"):
        restore(chain, path, tmp_path / "o.dng")
    assert not (tmp_path / "o.dng").exists()


@pytest.mark.parametrize("size", [(22, 22), (23, 25), (22, 301)])
def test_the_smallest_dngs(chain: Model, tmp_path: Path, size: tuple[int, int]) -> None:
    done = restore(chain, make_dng(tmp_path / "a.dng", make_noise(*size)), tmp_path / "o.png")
    assert (done.height, done.width) == size


@pytest.mark.parametrize("name", [b"\xff\xfe.dng", "ü \n.dng".encode(), b"-o.dng"])
def test_any_name(chain: Model, tmp_path: Path, name: bytes) -> None:
    path = make_dng(tmp_path / os.fsdecode(name))
    restore(chain, path, path.with_suffix(".png"))
    assert read_picture(path.with_suffix(".png")).pixels.shape == (30, 40, 3)


def head(shape: tuple[int, ...], kind: str = "<u2") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": kind, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + bytes(200)


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("m.npy", head((60000, 60000)), "photo.damaged"),
        ("m.npy", head((-1, 5)), "photo.damaged"),
        ("m.npy", head((2**40, 2**40)), "photo.damaged"),
        ("m.npy", head((4, 4), "|O"), "photo.damaged"),
        ("m.npy", head((4, 4), "<c8"), "raw.not-a-mosaic"),
        ("m.png", png(13000, 13000, bytes(99), 8, 0), "photo.header-lies"),
        ("m.png", png(60000, 60000, bytes(99), 8, 0), "photo.too-large"),
    ],
)
def test_headers_that_lie(tmp_path: Path, name: str, data: bytes, code: str) -> None:
    (tmp_path / name).write_bytes(data)
    (tmp_path / f"{name}.yaml").write_text("cfa: rggb\nwhite: 4000\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with refused(code, tmp_path / name):
            read_raw(tmp_path / name)


def test_a_mosaic_larger_than_any_sensor(tmp_path: Path) -> None:
    """A file of that size takes no disk; its values would take seven gigabytes."""
    (tmp_path / "m.raw").touch()
    os.truncate(tmp_path / "m.raw", 2 * 60000 * 60000)
    (tmp_path / "m.raw.yaml").write_text("cfa: rggb\nwhite: 4000\nsize: 60000x60000\n")
    with refused("photo.too-large", tmp_path / "m.raw", largest=2**28):
        read_raw(tmp_path / "m.raw")


def test_a_mosaic_that_lacks_strips(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1, 4000, (40, 40)).astype(np.uint16)
    make_mosaic(tmp_path / "m.tif", values, rowsperstrip=8, metadata=None)
    np.testing.assert_array_equal(read_raw(tmp_path / "m.tif").mosaic, values)
    with tifffile.TiffFile(tmp_path / "m.tif", mode="r+") as file:
        file.pages.first.tags[279].overwrite([0] * 5)
    with refused("photo.parts-missing", tmp_path / "m.tif"):
        read_raw(tmp_path / "m.tif")


def test_a_mosaic_that_memory_does_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_mosaic(tmp_path / "m.npy")
    make_dng(tmp_path / "a.dng")
    monkeypatch.setattr("restore_hub.photo.guards.available_memory", lambda: 20_000)
    for name in ("m.npy", "a.dng"):
        with refused("photo.too-little-memory", tmp_path / name):
            read_raw(tmp_path / name)


@pytest.mark.parametrize("command", ["restore", "inspect"])
def test_a_dng_cut_off_is_one_line_on_the_terminal(models: Path, tmp_path: Path, command: str) -> None:
    """LibRaw prints a line of its own, past Python."""
    path = make_dng(tmp_path / "a.dng")
    path.write_bytes(path.read_bytes()[:1400])
    more = [str(models / "chain.onnx"), str(path), "-o", str(tmp_path / "o.png")]
    line = [sys.executable, "-m", "restore_hub", command, *(more if command == "restore" else [str(path)])]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"error: {UnreadableFileError('raw.cut-off', path)}\n"
    assert done.stdout == ""
