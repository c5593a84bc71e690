"""The enhancement block of BGL: Liu et al., Bilevel Generative Learning for Low-Light Vision, ACM MM 2023."""

from __future__ import annotations

import functools
from typing import ClassVar

import torch
from torch import Tensor, nn

from restore_hub.contracts import Port
from restore_hub.errors import OptionError

MAPS = 4


class Cascade(nn.Module):
    """Brightens a picture by multiplying it with a gain, `y = x * G(x)` (BGL, section 3.5).

    The paper has "three cascaded convolution layers to generate the four three-channel illumination" maps with
    "one single skip connection", and leaves their composition open. Here the third 3x3 layer gives four RGB maps
    m_1..m_4, the first layer's features skip to the third's input, and the maps act in turn:

        G(x) = 2^tanh(m_1) * 2^tanh(m_2) * 2^tanh(m_3) * 2^tanh(m_4).

    Each map changes the exposure by at most one stop, G lies in (1/16, 16), and zero maps change nothing.

    Args:
        width: channels between the layers.

    `forward(image)`: (N, 3, H, W) in [0, 1] to `enhanced` (N, 3, H, W), not clipped above 1, and `stages`
    (N, 6, H, W): the input and its illumination 1 / G(x), laid out for the loss `retinex/self-supervised`.

    Raises:
        OptionError: `width` is below 1.
    """

    inputs: ClassVar = {"image": Port(3)}
    outputs: ClassVar = {"enhanced": Port(3), "stages": Port(6, "map")}
    size_multiple = 1

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        if width < 1:
            raise OptionError("retinex.not-a-count", "width", got=width)
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.third = nn.Conv2d(width, 3 * MAPS, 3, padding=1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        first = torch.relu(self.first(image))
        maps = torch.tanh(self.third(first + torch.relu(self.second(first))))  # (N, 12, H, W)
        # (N, 3, H, W), log2 of the gain; a sum keeps the maps' memory format, which a stack would change
        stops = functools.reduce(torch.add, maps.chunk(MAPS, dim=1))
        return image * torch.exp2(stops), torch.cat([image, torch.exp2(-stops)], dim=1)
