from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from restore_hub.runtime.images import write_picture
from restore_hub_raw.make_raw import Recipe, make_folder


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A coloured picture (H, W, 3) in [0, 1] of waves and a few sharp patches, not symmetric in any way."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    planes = []
    for _ in range(3):
        a, b, c = rng.uniform(0.05, 0.2, 3)
        planes.append(0.45 + 0.2 * np.sin(a * y + b * x) + 0.15 * np.cos(c * (x - y)))
    picture = np.stack(planes, axis=-1)
    for _ in range(4):
        top, left = rng.integers(0, max(1, height - 8)), rng.integers(0, max(1, width - 8))
        picture[top : top + 8, left : left + 8] *= rng.uniform(0.3, 1.1, 3)
    return np.clip(picture, 0, 1)


@pytest.fixture
def make_photo() -> Callable[..., np.ndarray]:
    return photo


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three photos of two sizes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed, (name, size) in enumerate({"a.png": (60, 80), "b.jpg": (61, 79), "c.tif": (60, 80)}.items()):
        write_picture(folder / name, photo(*size, seed=seed))
    return folder


def _scene(height: int, width: int, seed: int, dy: float = 0.0, dx: float = 0.0) -> np.ndarray:
    """A photo (H, W, 3) in [0, 1] with the 1/f spectrum of photographs, moved by (dy, dx) round its edges."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None, None], np.fft.rfftfreq(width)[None, :, None]
    colours = 0.8 * rng.normal(size=(height, width, 1)) + 0.3 * rng.normal(size=(height, width, 3))
    spectrum = np.fft.rfft2(colours, axes=(0, 1)) / np.maximum(np.hypot(fy, fx), 1 / max(height, width))
    moved = np.fft.irfft2(spectrum * np.exp(-2j * np.pi * (fy * dy + fx * dx)), (height, width), axes=(0, 1))
    return np.clip(0.5 + 0.15 * moved / moved.std(), 0, 1)


def _pairs(folder: Path, names: str, recipe: Recipe | None = None, **shift: float) -> Path:
    """Write pairs of photos a, b, ... and return their folder."""
    photos = folder.with_name(f"{folder.name}-photos")
    photos.mkdir(parents=True)
    for name in names:
        write_picture(photos / f"{name}.png", _scene(200, 240, ord(name), **shift), bits=16)
    make_folder(photos, folder, recipe or Recipe())
    return folder


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the splits `train` and `holdout` of pairs without a fault; not to be changed."""
    root = tmp_path_factory.mktemp("clean") / "data"
    _pairs(root / "train", "abc")
    _pairs(root / "holdout", "de")
    return root


@pytest.fixture
def data(clean: Path, tmp_path: Path) -> Path:
    """Return a copy of `clean` to be spoilt."""
    return Path(shutil.copytree(clean, tmp_path / "data"))
