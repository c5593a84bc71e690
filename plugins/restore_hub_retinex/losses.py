"""Self-supervised illumination loss of SCI (Ma et al., CVPR 2022, section 3.3), written from the paper."""

from __future__ import annotations

import torch
from torch import Tensor

from restore_hub.errors import DataError
from restore_hub_retinex.sweep import Swept


class SelfSupervised:
    """Makes each stage's illumination i similar to the stage's input v, and smooth where v has no edge.

        sum over stages of  fidelity * mean_c (i - v)^2 + smoothness * sum_{j in N(p)} w_pj |i_p - i_j|_1
        w_pj = exp(-|YUV(v_p) - YUV(v_j)|^2 / (2 sigma^2)),   sigma = 0.1

    summed over pixels p, where N(p) is the 5x5 neighbourhood inside the picture. The weights carry gradients too, so
    the gradient is that of the energy, not of a surrogate that changes.

    Args:
        smoothness, fidelity: weights of the two terms.
    """

    def __init__(self, smoothness: float = 1.0, fidelity: float = 1.5) -> None:
        self.smoothness = smoothness
        self.fidelity = fidelity

    def __call__(self, stages: Tensor) -> tuple[Tensor, int]:
        """Return the sum over pixels and the number of pixels N H W.

        Args:
            stages: (N, 6 T, H, W), for each stage the RGB of the input and of the illumination.

        Raises:
            DataError: the number of channels isn't a multiple of six.
        """
        if stages.ndim != 4 or stages.shape[1] % 6 or stages.shape[1] == 0:
            raise DataError("retinex.not-stages", "retinex/self-supervised", got=tuple(stages.shape))
        if stages.dtype in (torch.bfloat16, torch.float16):
            stages = stages.float()  # sums over a picture need more than 8 bits
        needed = torch.is_grad_enabled() and stages.requires_grad
        total, _ = Swept.apply(stages, self.smoothness, self.fidelity, needed)  # type: ignore[no-untyped-call]
        n, _, h, w = stages.shape
        return total, n * h * w
