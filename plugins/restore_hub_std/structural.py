"""Structural similarity: Wang et al., Image Quality Assessment: From Error Visibility to SSIM, TIP 2004."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from restore_hub.errors import DataError

SIGMA = 1.5
RADIUS = 5  # the window ends at 3.5 sigma
C1, C2 = 0.01**2, 0.03**2  # for values in [0, 1]


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the SSIM of each picture, (N,): the mean over channels and over windows inside the picture.

    With the Gaussian-weighted means u and v, variances and covariance of a window,

        SSIM = (2 u v + C1) (2 cov + C2) / ((u^2 + v^2 + C1) (var_u + var_v + C2)),

    equal to scikit-image's `structural_similarity` with `gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1`. (Torchmetrics differs: it includes reflected borders.)

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
    if min(h, w) <= 2 * RADIUS:
        raise DataError("std.below-window", "ssim", height=h, width=w, window=2 * RADIUS + 1)
    products = (prediction, target, prediction * prediction, target * target, prediction * target)
    u, v, uu, vv, uv = _blur(torch.cat(products).reshape(5 * n * c, 1, h, w)).reshape(5, n, -1)
    luminance = (2 * u * v + C1) / (u * u + v * v + C1)
    structure = (2 * (uv - u * v) + C2) / ((uu - u * u) + (vv - v * v) + C2)
    similarity: Tensor = (luminance * structure).mean(1)
    return similarity


def _blur(x: Tensor) -> Tensor:
    """Return Gaussian-weighted means of (M, 1, H, W) over the windows inside it."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(offsets.square() / (-2 * SIGMA**2))
    kernel = kernel / kernel.sum()
    return F.conv2d(F.conv2d(x, kernel.reshape(1, 1, -1, 1)), kernel.reshape(1, 1, 1, -1))
