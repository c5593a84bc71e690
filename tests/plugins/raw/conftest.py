from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from restore_hub.runtime.images import write_picture


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
