"""Metrics of one picture against its reference: float64 arrays (H, W, C) in [0, 1]."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import DataError


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
        import torch

        from restore_hub_std.structural import ssim

        _check("ssim", prediction, target)
        pair = [torch.from_numpy(np.asarray(a, np.float64).transpose(2, 0, 1)[None]) for a in (prediction, target)]
        with torch.no_grad():
            return float(ssim(*pair))


def _check(name: str, prediction: NDArray[np.float64], target: NDArray[np.float64]) -> None:
    if prediction.shape != target.shape:
        raise DataError("std.shapes-differ", name, prediction=prediction.shape, target=target.shape)
    if target.ndim != 3 or not target.size:
        raise DataError("std.not-a-picture", name, got=target.shape, axes="(H, W, C)")
