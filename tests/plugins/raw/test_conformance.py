from __future__ import annotations

import shutil
from pathlib import Path

from restore_hub.testing import check_dataset
from restore_hub_raw.datasets.pairs import Pairs
from restore_hub_raw.datasets.photos import Photos
from restore_hub_raw.datasets.sid import Sid
from restore_hub_raw.synthesis.make_folder import make_folder
from restore_hub_raw.synthesis.recipe import Recipe


def test_pairs(photos: Path, tmp_path: Path) -> None:
    make_folder(photos, tmp_path / "data", Recipe(phase="gbrg"))
    check_dataset(Pairs(tmp_path / "data", crop=32))


def test_sid(photos: Path, tmp_path: Path) -> None:
    make_folder(photos, tmp_path / "data", Recipe())
    for side, time in (("short", "0.1s"), ("long", "10s")):
        (tmp_path / "Sony" / side).mkdir(parents=True)
        shutil.copy(tmp_path / "data" / side / "a.dng", tmp_path / "Sony" / side / f"20001_00_{time}.ARW")
    listing = "./Sony/short/20001_00_0.1s.ARW ./Sony/long/20001_00_10s.ARW ISO200 F8\n"
    (tmp_path / "Sony_val_list.txt").write_text(listing)
    check_dataset(Sid(tmp_path, "val", crop=32))


def test_photos(photos: Path) -> None:
    check_dataset(Photos(photos, crop=32, augment={"ColorJitter": {}, "GaussianBlur": {"p": 0.3}}))
