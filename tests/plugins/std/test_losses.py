"""Common losses: values, counts, refusals."""

from __future__ import annotations

import pytest
import torch

from restore_hub_std.losses import L1, L2, Ssim
from restore_hub_std.structural import ssim
from support import refused


def _pair(n: int = 2, h: int = 16, w: int = 14) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand((n, 3, h, w), generator=generator, dtype=torch.float64)
    return (target + 0.1 * torch.randn(target.shape, generator=generator, dtype=torch.float64)).clamp(0, 1), target


def test_values_are_those_of_torch() -> None:
    prediction, target = _pair()
    for loss, reference in ((L1(), torch.nn.functional.l1_loss), (L2(), torch.nn.functional.mse_loss)):
        total, count = loss(prediction=prediction, target=target)
        assert count == prediction.numel()
        torch.testing.assert_close(total / count, reference(prediction, target))


def test_ssim_counts_pictures_and_its_gradient_is_that_of_finite_differences() -> None:
    prediction, target = _pair(3)
    total, count = Ssim()(prediction, target)
    assert count == 3
    torch.testing.assert_close(total, (1 - ssim(prediction, target)).sum())
    assert float(Ssim()(target, target)[0]) == pytest.approx(0, abs=1e-12)
    prediction, target = (x[:, :1] for x in _pair(1, 11, 11))
    assert torch.autograd.gradcheck(lambda p: Ssim()(p, target)[0], (prediction.requires_grad_(),))


@pytest.mark.parametrize("loss", [L1(), L2(), Ssim()])
def test_half_precision_is_summed_in_float32_and_nothing_broadcasts(loss: L1 | L2 | Ssim) -> None:
    with refused("std.shapes-differ", type(loss).__name__.lower(), prediction=(2, 3, 16, 14), target=(1, 3, 16, 14)):
        loss(torch.zeros(2, 3, 16, 14), torch.zeros(1, 3, 16, 14))
    prediction, target = _pair(2, 64, 64)
    exact, _ = loss(prediction, target)
    half, _ = loss(prediction.bfloat16(), target.bfloat16())
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(float(exact), rel=0.02)
