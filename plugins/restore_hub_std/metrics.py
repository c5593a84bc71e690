"""Metrics of one picture against its reference: float64 arrays (H, W, C) in [0, 1]."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import DataError
from restore_hub_std.similarity import WINDOW, check_sides, similarity


class Psnr:
    """Peak signal-to-noise ratio in dB, `-10 log10 MSE`, over all channels jointly; infinite for equal pictures."""

    higher_is_better = True

    def __call__(self, prediction: NDArray[np.float64], target: NDArray[np.float64]) -> float:
        """Return the ratio of two pictures (H, W, C).

        Raises:
            DataError: the shapes differ or are not (H, W, C).
        """
        _check("psnr", prediction, target)
        error = float(np.mean(np.square(prediction - target)))
        return -10 * math.log10(error) if error else math.inf


class Ssim:
    """Structural similarity (Wang et al., TIP 2004), the mean over the channels; at most 1."""

    higher_is_better = True

    def __call__(self, prediction: NDArray[np.float64], target: NDArray[np.float64]) -> float:
        """Return the similarity of two pictures (H, W, C) with sides of at least 11 pixels.

        Raises:
            DataError: the shapes differ, are not (H, W, C), or are smaller than the window.
        """
        _check("ssim", prediction, target)
        check_sides(*target.shape[:2])
        channels = range(target.shape[2])  # one by one, which takes less memory
        return float(np.mean([_ssim(prediction[..., c], target[..., c]) for c in channels]))


def _ssim(prediction: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    products = (prediction, target, prediction**2, target**2, prediction * target)
    return float(np.mean(similarity(*map(_blur, products))))


def _blur(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Gaussian-weighted means of (H, W) over the windows inside it."""
    for _ in range(2):
        rows = len(plane) - len(WINDOW) + 1
        means = np.zeros((rows, plane.shape[1]))
        for start, weight in enumerate(WINDOW):
            means += weight * plane[start : start + rows]
        plane = means.T
    return plane


def _check(name: str, prediction: NDArray[np.float64], target: NDArray[np.float64]) -> None:
    if prediction.shape != target.shape:
        raise DataError("std.shapes-differ", name, prediction=prediction.shape, target=target.shape)
    if target.ndim != 3 or not target.size:
        raise DataError("std.not-a-picture", name, got=target.shape, axes="(H, W, C)")
