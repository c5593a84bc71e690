"""The receptive field of networks whose own is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from restore_hub.export.receptive_field import receptive_field


def of(*layers: nn.Module, align: int = 1) -> int | None:
    torch.manual_seed(0)
    return receptive_field(nn.Sequential(*layers).eval(), 3, align)


@pytest.mark.parametrize(("kernel", "dilation", "expected"), [(1, 1, 0), (3, 1, 1), (5, 1, 2), (3, 4, 4), (65, 1, 32)])
def test_a_convolution_reaches_half_its_kernel(kernel: int, dilation: int, expected: int) -> None:
    assert of(nn.Conv2d(3, 2, kernel, dilation=dilation, padding=dilation * (kernel // 2))) == expected


def test_layers_add_up_and_activations_hide_nothing() -> None:
    dead = nn.Conv2d(3, 3, 3, padding=1)
    nn.init.constant_(dead.bias, -100.0)  # ReLU cuts all of it off: no gradient would pass
    assert of(dead, nn.ReLU(), nn.Conv2d(3, 3, 5, padding=2)) == 3


def test_strides_count_from_the_pixel_that_sees_farthest() -> None:
    """Down by 2, a 3x3 there, up again: a pixel at a cell's edge reaches 1 cell and its own cell's rest."""
    layers = (nn.AvgPool2d(2), nn.Conv2d(3, 3, 3, padding=1), nn.Upsample(scale_factor=2))
    assert of(*layers, align=2) == 3


class Ranked(nn.Module):
    """The fourth largest value of each 5x5 window, by comparisons, which stop NaN."""

    def forward(self, picture: Tensor) -> Tensor:
        padded = nn.functional.pad(picture, (2, 2, 2, 2), mode="replicate")
        windows = nn.functional.unfold(padded, 5).unflatten(1, (-1, 25)).unflatten(-1, picture.shape[2:])
        return windows.topk(4, dim=2).values[:, :, -1]


def test_comparisons_hide_nothing() -> None:
    assert of(Ranked(), align=2) == 2
    assert of(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), Ranked(), nn.Conv2d(3, 3, 3, padding=1)) == 4


def test_a_global_mean_has_no_bound_and_a_constant_reaches_nowhere() -> None:
    assert receptive_field(lambda picture: picture - picture.mean((2, 3), keepdim=True), 3, 1) is None
    assert receptive_field(lambda picture: torch.zeros_like(picture), 3, 4) == 0
