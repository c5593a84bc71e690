"""Colour spaces: sRGB, linear light, and the RGB of a camera's sensor."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Linear sRGB to XYZ at D65, IEC 61966-2-1.
XYZ_FROM_SRGB = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear_from_srgb(picture: NDArray[Any]) -> NDArray[Any]:
    """Return the linear light of sRGB values in [0, 1] (IEC 61966-2-1)."""
    light = (picture + 0.055) / 1.055
    np.power(light, 2.4, out=light)
    return np.where(picture <= 0.04045, picture / 12.92, light)


def srgb_from_linear(light: NDArray[Any]) -> NDArray[Any]:
    """Return the sRGB values of linear light in [0, 1]."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.power(light, 1 / 2.4) - 0.055)


def camera_from_srgb(camera_from_xyz: ArrayLike) -> NDArray[np.float64]:
    """Return the (3, 3) matrix from linear sRGB to white-balanced camera RGB, rows summing to 1.

    Args:
        camera_from_xyz: XYZ (D65) to camera (3, 3), as DNG's ColorMatrix1.
    """
    matrix = np.asarray(camera_from_xyz, np.float64) @ XYZ_FROM_SRGB
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True))
