"""Structural similarity of batches, with gradients; `similarity` has the definition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from restore_hub.errors import DataError
from restore_hub_std.similarity import WINDOW, check_sides, similarity


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the SSIM of each picture, (N,): the mean over channels and over windows inside the picture.

    Args:
        prediction, target: (N, C, H, W) with values in [0, 1], H and W at least 11.

    Raises:
        DataError: the shapes differ, or a side is shorter than the window.
    """
    if prediction.shape != target.shape:
        raise DataError("std.shapes-differ", "ssim", prediction=tuple(prediction.shape), target=tuple(target.shape))
    if prediction.ndim != 4:
        raise DataError("std.not-a-picture", "ssim", got=tuple(prediction.shape), axes="(N, C, H, W)")
    n, c, h, w = prediction.shape
    check_sides(h, w)
    products = (prediction, target, prediction * prediction, target * target, prediction * target)
    means = _blur(torch.cat(products).reshape(5 * n * c, 1, h, w)).reshape(5, n, -1)
    found: Tensor = similarity(*means).mean(1)
    return found


def _blur(x: Tensor) -> Tensor:
    """Return Gaussian-weighted means of (M, 1, H, W) over the windows inside it."""
    kernel = torch.from_numpy(WINDOW).to(x)
    return F.conv2d(F.conv2d(x, kernel.reshape(1, 1, -1, 1)), kernel.reshape(1, 1, 1, -1))
