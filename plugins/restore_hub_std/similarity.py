"""Structural similarity of arrays of any library: Wang et al., Image Quality Assessment, TIP 2004.

With the Gaussian-weighted means u and v, variances and covariance of a window,

    SSIM = (2 u v + C1) (2 cov + C2) / ((u^2 + v^2 + C1) (var_u + var_v + C2)),

equal to scikit-image's `structural_similarity` with `gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
data_range=1`. (Torchmetrics differs: it includes reflected borders.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from restore_hub.errors import DataError

SIGMA = 1.5
RADIUS = 5  # the window ends at 3.5 sigma
C1, C2 = 0.01**2, 0.03**2  # for values in [0, 1]
WINDOW = np.exp(np.arange(-RADIUS, RADIUS + 1) ** 2 / (-2 * SIGMA**2))
WINDOW /= WINDOW.sum()


def similarity(u: Any, v: Any, uu: Any, vv: Any, uv: Any) -> Any:
    """Return the SSIM of windows, from the weighted means of two pictures, of their squares and of their product."""
    luminance = (2 * u * v + C1) / (u * u + v * v + C1)
    structure = (2 * (uv - u * v) + C2) / ((uu - u * u) + (vv - v * v) + C2)
    return luminance * structure


def check_sides(height: int, width: int) -> None:
    """Refuse a picture without a whole window.

    Raises:
        DataError: a side is shorter than the window.
    """
    if min(height, width) < len(WINDOW):
        raise DataError("std.below-window", "ssim", height=height, width=width, window=len(WINDOW))
