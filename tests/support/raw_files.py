"""Small RAW files of a made-up camera, and what is in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from restore_hub.photo.raw.dng_writer import write_dng
from restore_hub.photo.raw.mosaic import RawImage


@pytest.fixture(scope="session")
def camera_matrix() -> np.ndarray:
    """Return the matrix (3, 3) from XYZ to the camera, of a Canon EOS 6D."""
    return np.array([[0.7034, -0.0804, -0.1014], [-0.4420, 1.2564, 0.2058], [-0.0851, 0.1994, 0.5758]])


@pytest.fixture(scope="session")
def noise() -> Callable[..., np.ndarray]:
    """Return a function that makes a mosaic (H, W) of values below `top`."""

    def make(height: int, width: int, top: int = 4096) -> np.ndarray:
        return np.random.default_rng(7).integers(0, top, (height, width)).astype(np.uint16)

    return make


@pytest.fixture(scope="session")
def dng(camera_matrix: np.ndarray) -> Callable[..., Path]:
    """Return a function that writes a mosaic as a DNG of 12 bits; changes are of `RawImage`."""

    def write(path: Path, mosaic: np.ndarray, **changes: Any) -> Path:
        settings: dict[str, Any] = {
            "phase": (0, 0),
            "black": np.full(4, 64, np.float32),
            "white": np.full(4, 4095, np.float32),
            "balance": np.array([2.0, 1, 1, 1.5], np.float32),
            "balance_source": "camera",
            "camera_from_xyz": camera_matrix,
        }
        write_dng(path, RawImage(mosaic, **(settings | changes)))
        return path

    return write


@pytest.fixture(scope="session")
def bare_dng() -> Callable[..., Path]:
    """Return a function that writes a DNG with any colour pattern, square, and extra tags."""

    def write(path: Path, mosaic: np.ndarray, pattern: bytes, tags: Any = (), photometric: Any = "cfa") -> Path:
        side = int(len(pattern) ** 0.5)
        cfa = [(33421, 3, 2, (side, side), True), (33422, 1, len(pattern), pattern, True)] if pattern else []
        head = [(50706, 1, 4, bytes((1, 4, 0, 0)), True), (50708, 2, None, "Some Camera", True)]
        tifffile.imwrite(path, mosaic, photometric=photometric, metadata=None, extratags=[*head, *cfa, *tags])
        return path

    return write
