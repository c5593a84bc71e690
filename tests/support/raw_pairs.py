"""Photos, pairs of exposures made from them, and `restore-hub data check` of these."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result

from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.raw.dng_writer import write_dng
from restore_hub.photo.raw.reader import read_raw
from restore_hub_raw.commands import check
from restore_hub_raw.synthesis.make_folder import make_folder
from restore_hub_raw.synthesis.recipe import Recipe

SIDES = ("short", "long")


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a coloured picture (H, W, 3) in [0, 1] of waves and a few sharp patches, without any symmetry."""
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


def scene(height: int, width: int, seed: int, dy: float = 0.0, dx: float = 0.0) -> np.ndarray:
    """Return a picture (H, W, 3) in [0, 1] with the 1/f spectrum of photographs, moved by (dy, dx) round its edges."""
    rng = np.random.default_rng(seed)
    colours = 0.8 * rng.normal(size=(height, width, 1)) + 0.3 * rng.normal(size=(height, width, 3))
    return np.clip(0.5 + 0.15 * _like_a_photograph(colours, dy, dx), 0, 1)


def texture(height: int, width: int, seed: int = 0, dy: float = 0.0, dx: float = 0.0) -> np.ndarray:
    """Return a grey picture (H, W) in [0, 1] like `scene`."""
    values = np.random.default_rng(seed).normal(size=(height, width, 1))
    return np.clip(0.3 + 0.12 * _like_a_photograph(values, dy, dx)[..., 0], 0, 1)


def _like_a_photograph(values: np.ndarray, dy: float, dx: float) -> np.ndarray:
    height, width, _ = values.shape
    fy, fx = np.fft.fftfreq(height)[:, None, None], np.fft.rfftfreq(width)[None, :, None]
    spectrum = np.fft.rfft2(values, axes=(0, 1)) / np.maximum(np.hypot(fy, fx), 1 / max(height, width))
    still, moved = (
        np.fft.irfft2(spectrum * np.exp(-2j * np.pi * k * (fy * dy + fx * dx)), (height, width), axes=(0, 1))
        for k in (0, 1)
    )
    return moved / still.std()


def make_pairs(folder: Path, names: str, recipe: Recipe | None = None, **shift: float) -> Path:
    """Write pairs of scenes a, b, ... and return their folder."""
    photos = folder.with_name(f"{folder.name}-photos")
    photos.mkdir(parents=True)
    for name in names:
        write_picture(photos / f"{name}.png", scene(200, 240, ord(name), **shift), bits=16)
    make_folder(photos, folder, recipe or Recipe())
    return folder


def change(path: Path, **fields: Any) -> None:
    """Write a DNG anew with other fields."""
    write_dng(path, replace(read_raw(path), **fields))


def alone(data: Path) -> Path:
    """Remove a short exposure of `data`; return its long one."""
    (data / "train" / "short" / "b.dng").unlink()
    return data / "train" / "long" / "b.dng"


def mistimed(data: Path) -> Path:
    """Make a short exposure of `data` state a wrong time; return it."""
    path = data / "train" / "short" / "c.dng"
    change(path, exposure_time=0.2)
    return path


def check_data(*arguments: object) -> Result:
    """Call `restore-hub data check`; errors are raised."""
    result = CliRunner().invoke(check, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def found(result: Result) -> list[str]:
    """Return the rows of the table that `check_data` prints, blanks squeezed."""
    lines = result.stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("SPLIT"))
    assert result.exit_code == 1
    return [" ".join(line.split()) for line in lines[start + 1 : -1] if not line.startswith("note")]
