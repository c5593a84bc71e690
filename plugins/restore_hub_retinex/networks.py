"""Self-calibrated illumination (SCI): Ma et al., CVPR 2022, arXiv:2204.10137.

Modules and tensors have the names of the published checkpoints, which load strictly with default options.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from restore_hub.contracts import Port
from restore_hub.errors import OptionError

DARKEST = 1e-4  # lower bound of the illumination, which keeps the division finite


class Estimator(nn.Module):
    """Illumination of a picture, (N, 3, H, W) in [DARKEST, 1]: `clamp(x + H(x))`, SCI section 3.1.

    The published checkpoints hold the repeated block under two names, `conv` and `blocks.0`, which are one module.
    """

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        self.in_conv = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), nn.ReLU())
        self.conv = nn.Sequential(*_conv_norm(channels, channels))
        self.blocks = nn.ModuleList([self.conv] * layers)
        self.out_conv = nn.Sequential(nn.Conv2d(channels, 3, 3, padding=1), nn.Sigmoid())

    def forward(self, image: Tensor) -> Tensor:
        features = self.in_conv(image)  # (N, channels, H, W)
        for block in self.blocks:
            features = features + block(features)
        return torch.clamp(image + self.out_conv(features), DARKEST, 1.0)


class Calibration(nn.Module):
    """Maps a stage's result z to the shift s of the next stage's input: `s = z - K(z)`, SCI section 3.2."""

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        self.in_conv = nn.Sequential(*_conv_norm(3, channels))
        self.convs = nn.Sequential(*_conv_norm(channels, channels), *_conv_norm(channels, channels))
        self.blocks = nn.ModuleList([self.convs] * layers)
        self.out_conv = nn.Sequential(nn.Conv2d(channels, 3, 3, padding=1), nn.Sigmoid())

    def forward(self, result: Tensor) -> Tensor:
        features = self.in_conv(result)
        for block in self.blocks:
            features = features + block(features)
        predicted: Tensor = self.out_conv(features)
        return result - predicted


class Illumination(nn.Module):
    """Brightens a picture by dividing it by its estimated illumination.

    Stage t estimates `i_t = E(v_t)` with shared weights and gives `z_t = clamp(x / i_t, 0, 1)`; the next stage
    reads `v_{t+1} = x + s(z_t)`, starting from `v_1 = x`. Stages after the first only matter in training.

    Args:
        channels, layers: width of the estimator, and how often its block is applied.
        calibration_channels, calibration_layers: the same for the calibration module.
        stages: number T of stages in training; with one, there is no calibration module.

    `forward(image)`: (N, 3, H, W) in [0, 1] to `enhanced`, the first stage's result of the same shape in [0, 1],
    and `stages` (N, 6 T, H, W), which holds v_t in channels 6t..6t+2 and i_t in channels 6t+3..6t+5, t = 0 .. T - 1.
    In evaluation and in an exported file T is 1.

    Raises:
        OptionError: an option is below 1.
    """

    inputs: ClassVar = {"image": Port(3)}
    outputs: ClassVar = {"enhanced": Port(3), "stages": Port(None, "map")}
    size_multiple = 1

    def __init__(
        self,
        channels: int = 3,
        layers: int = 1,
        calibration_channels: int = 16,
        calibration_layers: int = 3,
        stages: int = 3,
    ) -> None:
        super().__init__()
        calibration = {"calibration_channels": calibration_channels, "calibration_layers": calibration_layers}
        for name, value in {"channels": channels, "layers": layers, "stages": stages, **calibration}.items():
            if value < 1:
                raise OptionError("retinex.not-a-count", name, got=value)
        self.stages = stages
        self.enhance = Estimator(channels, layers)
        if stages > 1:
            self.calibrate = Calibration(calibration_channels, calibration_layers)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        enhanced, illumination = self._stage(image, image)
        stages = [image, illumination]
        result = enhanced
        for _ in range(self.stages - 1 if self.training else 0):
            calibrated = image + self.calibrate(result)  # v_{t+1}
            result, illumination = self._stage(image, calibrated)
            stages += [calibrated, illumination]
        return enhanced, torch.cat(stages, dim=1)

    def _stage(self, image: Tensor, calibrated: Tensor) -> tuple[Tensor, Tensor]:
        illumination = self.enhance(calibrated)
        return torch.clamp(image / illumination, 0.0, 1.0), illumination


def _conv_norm(channels_in: int, channels_out: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.BatchNorm2d(channels_out), nn.ReLU()
