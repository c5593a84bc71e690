"""Photos, and pairs of exposures."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from restore_hub.photo.picture_writer import write_picture
from support.raw_pairs import make_pairs, photo


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of three photos of two sizes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed, (name, size) in enumerate({"a.png": (60, 80), "b.jpg": (61, 79), "c.tif": (60, 80)}.items()):
        write_picture(folder / name, photo(*size, seed=seed))
    return folder


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the splits `train` and `holdout` of pairs without a fault; don't change it."""
    root = tmp_path_factory.mktemp("clean") / "data"
    make_pairs(root / "train", "abc")
    make_pairs(root / "holdout", "de")
    return root


@pytest.fixture
def data(clean: Path, tmp_path: Path) -> Path:
    """Return a copy of `clean` that a test may change."""
    return Path(shutil.copytree(clean, tmp_path / "data"))
