"""FFDNet as somebody's plugin: one network for a range of noise levels, which is one of its inputs.

Zhang, Zuo and Zhang, "FFDNet: Toward a Fast and Flexible Solution for CNN-Based Image Denoising", IEEE Transactions on
Image Processing 27(9), 2018: the picture becomes four pictures of half its size, a map of the noise level goes beside
them, plain convolutions follow, and pixels move back into place.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore_hub import hookimpl
from restore_hub.contracts import Port

SIGMA = Port.number(0, 0.3, default=0.1)


class FFDNet(nn.Module):
    inputs, outputs = {"image": Port(3), "sigma": SIGMA}, {"clean": Port(3)}
    size_multiple = 2

    def __init__(self, width: int = 16, depth: int = 4) -> None:
        super().__init__()
        sizes = [13, *[width] * (depth - 1), 12]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(sizes))

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        x = F.pixel_unshuffle(F.pad(image, (0, width % 2, 0, height % 2), mode="replicate"), 2)
        level = sigma.to(x.dtype).reshape(-1, 1, 1, 1).expand(-1, 1, *x.shape[-2:])
        x = torch.cat([x, level], 1)
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return F.pixel_shuffle(self.layers[-1](x), 2)[..., :height, :width]


class Noisy:
    """Smooth pictures with white noise of a level that each sample has its own of."""

    ports = {"noisy": Port(3), "sigma": Port.number(0, 0.3), "rgb": Port(3)}

    def __init__(self, count: int = 4, side: int = 16, seed: int = 0) -> None:
        self._count, self._side, self._seed = count, side, seed

    def __len__(self) -> int:
        return self._count

    def files(self, index: int) -> Sequence[Path]:
        return []

    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, Any]:
        rng = rng or np.random.default_rng((self._seed, index))
        sigma = np.float32(rng.uniform(0.05, 0.25))
        wave = np.sin(np.linspace(0, 3, self._side) + rng.uniform(0, 6, (3, 1)))
        rgb = (0.5 + 0.2 * wave[:, None] + 0.2 * wave[:, :, None]).astype(np.float32)
        noise = rng.standard_normal(rgb.shape, np.float32)
        return {"noisy": rgb + sigma * noise, "sigma": sigma, "rgb": rgb}


@hookimpl
def register_networks(register: Any) -> None:
    register("net", "ffdnet:FFDNet", summary="A denoiser for a range of noise levels")


@hookimpl
def register_datasets(register: Any) -> None:
    register("noisy", "ffdnet:Noisy", summary="Smooth pictures with noise")
