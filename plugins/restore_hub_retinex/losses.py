"""Self-supervised illumination loss of SCI (Ma et al., CVPR 2022, section 3.3), written from the paper."""

from __future__ import annotations

import torch
from torch import Tensor

from restore_hub.errors import DataError

SIGMA = 0.1
# Half of the 5x5 neighbourhood: the other twelve neighbours see the same pairs from the other side.
_PAIRS = [(dy, dx) for dy in range(3) for dx in range(-2, 3) if (dy, dx) > (0, 0)]


class SelfSupervised:
    """Each stage's illumination i should resemble the stage's input v, and be smooth where v has no edge.

        sum over stages of  fidelity * mean_c (i - v)^2 + smoothness * sum_{j in N(p)} w_pj |i_p - i_j|_1
        w_pj = exp(-|YUV(v_p) - YUV(v_j)|^2 / (2 sigma^2)),   sigma = 0.1

    summed over pixels p, where N(p) is the 5x5 neighbourhood inside the picture. The weights carry gradients
    as well, so that the gradient is that of the energy and not of a changing surrogate.

    Args:
        smoothness, fidelity: weights of the two terms.
    """

    def __init__(self, smoothness: float = 1.0, fidelity: float = 1.5) -> None:
        self.smoothness = smoothness
        self.fidelity = fidelity

    def __call__(self, stages: Tensor) -> tuple[Tensor, int]:
        """Return the sum over pixels and the number of pixels N H W.

        Args:
            stages: (N, 6 T, H, W), for each stage the input's RGB and the illumination's RGB.

        Raises:
            DataError: the channels are no multiple of six.
        """
        if stages.ndim != 4 or stages.shape[1] % 6 or stages.shape[1] == 0:
            raise DataError(
                f"retinex/self-supervised got {tuple(stages.shape)}; it needs (N, 6 T, H, W): input and illumination "
                "of each stage, the output `stages` of a retinex network"
            )
        n, channels, h, w = stages.shape
        if stages.dtype in (torch.bfloat16, torch.float16):
            stages = stages.float()  # sums over a picture need more than 8 bits
        # A stage is just another picture: fold stages into the batch.
        source, illumination = stages.reshape(n * channels // 6, 2, 3, h, w).unbind(1)
        fidelity = (illumination - source).square().sum() / 3
        return self.fidelity * fidelity + self.smoothness * _roughness(source, illumination), n * h * w


def _roughness(source: Tensor, illumination: Tensor) -> Tensor:
    yuv = _yuv(source)
    total = illumination.new_zeros(())
    for dy, dx in _PAIRS:
        edge = _difference(yuv, dy, dx).square().sum(1)
        step = _difference(illumination, dy, dx).abs().sum(1)
        total = total + (torch.exp(edge / (-2 * SIGMA**2)) * step).sum()
    return 2 * total


def _difference(x: Tensor, dy: int, dx: int) -> Tensor:
    """Return x at (p + dy, q + dx) less x at (p, q), wherever both lie inside; empty for small pictures."""
    h, w = x.shape[-2:]
    left, right = max(-dx, 0), max(dx, 0)
    there = x[..., dy:, right : max(w - left, right)]
    here = x[..., : max(h - dy, 0), left : max(w - right, left)]
    return there - here


def _yuv(rgb: Tensor) -> Tensor:
    """Return BT.601 Y, U = 0.492 (B - Y), V = 0.877 (R - Y) of (N, 3, H, W)."""
    red, green, blue = rgb.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([luma, 0.492 * (blue - luma), 0.877 * (red - luma)], dim=1)
