"""The energy of SCI's self-supervised loss (Ma et al., CVPR 2022, section 3.3), written from the paper."""

from __future__ import annotations

import torch
from torch import Tensor

SIGMA = 0.1
# Half of the 5x5 neighbourhood; the other twelve neighbours form the same pairs.
PAIRS = [(dy, dx) for dy in range(3) for dx in range(-2, 3) if (dy, dx) > (0, 0)]


def energy(stages: Tensor, smoothness: float, fidelity: float) -> Tensor:
    """Return the sum over pixels and stages of the loss `retinex/self-supervised`; this is its definition.

    Args:
        stages: (N, 6 T, H, W), for each stage the RGB of the input and of the illumination.
        smoothness, fidelity: weights of the two terms.
    """
    n, channels, h, w = stages.shape
    # Fold the stages into the batch, as further pictures. Planes shift faster than interleaved pixels.
    source, illumination = stages.contiguous().reshape(n * channels // 6, 2, 3, h, w).unbind(1)
    return fidelity / 3 * (illumination - source).square().sum() + smoothness * _roughness(source, illumination)


def _roughness(source: Tensor, illumination: Tensor) -> Tensor:
    colour = yuv(source)
    total = illumination.new_zeros(())
    for dy, dx in PAIRS:
        edge = _difference(colour, dy, dx).square().sum(1)
        step = _difference(illumination, dy, dx).abs().sum(1)
        total = total + (torch.exp(edge / (-2 * SIGMA**2)) * step).sum()
    return 2 * total


def _difference(x: Tensor, dy: int, dx: int) -> Tensor:
    """Return x at (p + dy, q + dx) minus x at (p, q), wherever both are inside; empty for small pictures."""
    h, w = x.shape[-2:]
    left, right = max(-dx, 0), max(dx, 0)
    there = x[..., dy:, right : max(w - left, right)]
    here = x[..., : max(h - dy, 0), left : max(w - right, left)]
    return there - here


def yuv(rgb: Tensor) -> Tensor:
    """Return BT.601 Y, U = 0.492 (B - Y), V = 0.877 (R - Y) of (N, 3, H, W)."""
    red, green, blue = rgb.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([luma, 0.492 * (blue - luma), 0.877 * (red - luma)], dim=1)


def yuv_transposed(slopes: Tensor) -> Tensor:
    """Return the transpose of `yuv`, which turns gradients (N, 3, H, W) by YUV into gradients by RGB."""
    y, u, v = slopes.unbind(1)
    luma = y - 0.492 * u - 0.877 * v
    return torch.stack([0.299 * luma + 0.877 * v, 0.587 * luma, 0.114 * luma + 0.492 * u], dim=1)
