"""Damaged copies of each kind of file, a thousand in a whole run: one clear error or a picture; no crash, no hang."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from support.raw_files import make_dng, make_mosaic
from support.real import DATA, real
from support.sampling import SEED, share

COUNT = share(1000)
HANG = 300  # seconds for all copies; a run takes some 5
LARGEST_GROWTH = 200  # MiB
SIDECAR = "cfa: rggb\nblack: [1, 2, 3, 4]\nwhite: 4095\nbalance: [2, 1, 1.5]\n"
PLAIN = ("m.npy", "m.png", "m.tif", "z.tif", "m.raw")
PICTURES = ("p.png", "p.jpg", "p.tif", "q.tif", "qz.tif")
REAL = ("apple_quicktake_shared/QKTK/Image__1.qtk", "apple_quicktake_shared/QKTN/raw_Image_04.qtk",
        "kodak_dc50/DC0008L.KDC")  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    rng = np.random.default_rng(0)
    mosaic, four = rng.integers(0, 4000, (60, 80)).astype(np.uint16), np.ones(4, np.float32)
    levels = {"black": 0 * four, "white": 4095 * four, "balance": four, "camera_from_xyz": None}
    make_dng(folder / "a.dng", mosaic, **levels, noise=np.ones((4, 2)), exposure_time=0.1)
    for name in PLAIN:
        compressed = {"compression": "zlib"} if name == "z.tif" else {}
        make_mosaic(folder / name, mosaic, SIDECAR, **compressed)
    picture = rng.integers(0, 255, (40, 50, 3)).astype(np.uint8)
    for suffix in ("png", "jpg", "tif"):
        Image.fromarray(picture).save(folder / f"p.{suffix}")
    tifffile.imwrite(folder / "q.tif", picture.astype(np.uint16) * 257, photometric="rgb")
    tifffile.imwrite(folder / "qz.tif", picture.astype(np.uint16) * 257, photometric="rgb", compression="zlib")
    return folder


def read_damaged(source: Path, reader: str, way: str) -> int:
    command = [sys.executable, str(Path(__file__).with_name("mutate.py")), str(source), reader, way, str(COUNT), SEED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["escaped"] == []
    assert found["grown_mib"] < LARGEST_GROWTH
    return int(found["refused"])


@pytest.mark.long
@pytest.mark.parametrize("way", ["cut", "change"])
@pytest.mark.parametrize("name", ["a.dng", *PLAIN, *PICTURES])
def test_damaged_files(files: Path, name: str, way: str) -> None:
    refused = read_damaged(files / name, "picture" if name in PICTURES else "raw", way)
    if way == "cut":
        assert refused > 0.95 * COUNT  # the last bytes of a PNG say nothing about its pixels
    elif name != "m.raw":  # changed values are as good as any others
        assert 0.1 * COUNT < refused <= COUNT


@pytest.mark.long
@pytest.mark.parametrize("way", ["cut", "change"])
def test_damaged_sidecars(files: Path, way: str) -> None:
    assert read_damaged(files / "m.raw.yaml", "raw", way) > 0.4 * COUNT


@pytest.mark.long
@pytest.mark.parametrize("name", ["a.dng", "m.npy"])
def test_rendering_damaged_files(files: Path, name: str) -> None:
    assert read_damaged(files / name, "render", "change") > 0.1 * COUNT


@pytest.mark.long
@real
@pytest.mark.parametrize("way", ["cut", "change"])
@pytest.mark.parametrize("name", REAL)
def test_damaged_camera_files(name: str, way: str) -> None:
    assert read_damaged(DATA / "raw" / name, "raw", way) > 0.04 * COUNT
