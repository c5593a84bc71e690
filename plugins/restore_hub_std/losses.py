"""Losses between a picture and its reference; each returns (sum, count), and the energy is their ratio."""

from __future__ import annotations

import torch
from torch import Tensor

from restore_hub.errors import DataError
from restore_hub_std.structural import ssim


class L1:
    """Mean absolute error over all elements of two tensors of one shape."""

    def __call__(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """Return the sum of |prediction - target| and the number of elements.

        Raises:
            DataError: the shapes differ.
        """
        prediction, target = _pair("l1", prediction, target)
        return (prediction - target).abs().sum(), prediction.numel()


class L2:
    """Mean squared error over all elements of two tensors of one shape."""

    def __call__(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """Return the sum of (prediction - target)^2 and the number of elements.

        Raises:
            DataError: the shapes differ.
        """
        prediction, target = _pair("l2", prediction, target)
        return (prediction - target).square().sum(), prediction.numel()


class Ssim:
    """1 - SSIM, averaged over pictures; see `restore_hub_std.similarity` for the definition."""

    def __call__(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, int]:
        """Return the sum of 1 - SSIM over the N pictures (N, C, H, W) in [0, 1], and N.

        Raises:
            DataError: the shapes differ, or a side is shorter than 11 pixels.
        """
        prediction, target = _pair("ssim", prediction, target)
        return (1 - ssim(prediction, target)).sum(), prediction.shape[0]


def _pair(name: str, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Refuse different shapes, which would broadcast silently, and widen half precision, since sums need more bits."""
    if prediction.shape != target.shape:
        raise DataError("std.shapes-differ", name, prediction=tuple(prediction.shape), target=tuple(target.shape))
    half = (torch.bfloat16, torch.float16)
    return prediction.float() if prediction.dtype in half else prediction, (
        target.float() if target.dtype in half else target
    )
