"""Photos and pairs of exposures to look at, without a fault or with one, and `restore-hub data check` of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.raw.dng_writer import write_dng
from restore_hub.photo.raw.reader import read_raw
from restore_hub_raw.checks.check_data import check_data
from restore_hub_raw.synthesis.make_raw import Recipe, make_folder


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


def made_scene(height: int, width: int, seed: int, dy: float = 0.0, dx: float = 0.0) -> np.ndarray:
    """A photo (H, W, 3) in [0, 1] with the 1/f spectrum of photographs, moved by (dy, dx) round its edges."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None, None], np.fft.rfftfreq(width)[None, :, None]
    colours = 0.8 * rng.normal(size=(height, width, 1)) + 0.3 * rng.normal(size=(height, width, 3))
    spectrum = np.fft.rfft2(colours, axes=(0, 1)) / np.maximum(np.hypot(fy, fx), 1 / max(height, width))
    moved = np.fft.irfft2(spectrum * np.exp(-2j * np.pi * (fy * dy + fx * dx)), (height, width), axes=(0, 1))
    return np.clip(0.5 + 0.15 * moved / moved.std(), 0, 1)


def written_pairs(folder: Path, names: str, recipe: Recipe | None = None, **shift: float) -> Path:
    """Write pairs of photos a, b, ... and return their folder."""
    photos = folder.with_name(f"{folder.name}-photos")
    photos.mkdir(parents=True)
    for name in names:
        write_picture(photos / f"{name}.png", made_scene(200, 240, ord(name), **shift), bits=16)
    make_folder(photos, folder, recipe or Recipe())
    return folder


@pytest.fixture(scope="session")
def scene() -> Callable[..., np.ndarray]:
    return made_scene


@pytest.fixture(scope="session")
def make_pairs() -> Callable[..., Path]:
    return written_pairs


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the splits `train` and `holdout` of pairs without a fault; not to be changed."""
    root = tmp_path_factory.mktemp("clean") / "data"
    written_pairs(root / "train", "abc")
    written_pairs(root / "holdout", "de")
    return root


@pytest.fixture
def data(clean: Path, tmp_path: Path) -> Path:
    """Return a copy of `clean` to be spoilt."""
    return Path(shutil.copytree(clean, tmp_path / "data"))


@pytest.fixture(scope="session")
def change() -> Callable[..., None]:
    """Return a function that writes a DNG anew with other fields."""

    def write(path: Path, **fields: Any) -> None:
        write_dng(path, replace(read_raw(path), **fields))

    return write


@pytest.fixture
def alone(data: Path) -> Path:
    """Return a long exposure whose short one is gone."""
    (data / "train" / "short" / "b.dng").unlink()
    return data / "train" / "long" / "b.dng"


@pytest.fixture
def mistimed(data: Path, change: Callable[..., None]) -> Path:
    """Return a short exposure that states another time than it had."""
    path = data / "train" / "short" / "c.dng"
    change(path, exposure_time=0.2)
    return path


@pytest.fixture(scope="session")
def check() -> Callable[..., Result]:
    """Return a function that calls `restore-hub data check`; errors are raised."""

    def call(*arguments: object) -> Result:
        result = CliRunner().invoke(check_data, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture(scope="session")
def found() -> Callable[[Result], list[str]]:
    """Return a function that returns the rows of its table, blanks squeezed."""

    def rows(result: Result) -> list[str]:
        lines = result.stdout.splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith("SPLIT"))
        assert result.exit_code == 1
        return [" ".join(line.split()) for line in lines[start + 1 : -1] if not line.startswith("note")]

    return rows
