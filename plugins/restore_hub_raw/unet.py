"""U-Nets on packed RAW planes: that of "Learning to See in the Dark", and a denoiser of mosaics."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore_hub.contracts import Port
from restore_hub.errors import OptionError


class UNet(nn.Module):
    """Map packed planes (N, 4, h, w), h and w from 1 up, to sRGB (N, 3, 2h, 2w), not clamped.

    `depth` times: two 3x3 convolutions, then 2x2 max-pooling, the width doubling each time; on the way up a
    transposed convolution halves the width and the features of the same size are concatenated; a 1x1
    convolution gives 12 channels, which become the 2x2 pixels of 3 colours (Chen et al., CVPR 2018, with
    `width` 32 and `depth` 4). The output starts near middle grey, which saves the first hundred steps.

    Args:
        width: channels at full (packed) size.
        depth: number of down-samplings.
    """

    def __init__(self, width: int = 32, depth: int = 4) -> None:
        super().__init__()
        self.inputs = {"raw": Port(4, "raw", scale=0.5)}
        self.outputs = {"rgb": Port(3, "srgb")}
        self.size_multiple = 2 * 2**depth
        self.body = _Body(width, depth)
        self.last = nn.Conv2d(width, 12, 1)
        nn.init.normal_(self.last.weight, std=0.1 / width**0.5)
        nn.init.constant_(self.last.get_parameter("bias"), 0.46)  # sRGB of 0.18

    def forward(self, raw: Tensor) -> Tensor:
        """Run on planes R, Gr, Gb, B."""
        return F.pixel_shuffle(self.last(self.body(raw)), 2)


class Denoiser(nn.Module):
    """Map packed planes (N, 4, h, w), h and w from 1 up, to the same planes with less noise, not clamped.

    The U-Net predicts what to add to its input (Brooks et al., CVPR 2019, who also feed it the noise level, which
    this one infers). Untrained it changes nothing.

    Args:
        width: channels at full (packed) size.
        depth: number of down-samplings.
    """

    def __init__(self, width: int = 32, depth: int = 4) -> None:
        super().__init__()
        self.inputs = {"raw": Port(4, "raw", scale=0.5)}
        self.outputs = {"clean": Port(4, "raw", scale=0.5)}
        self.size_multiple = 2 * 2**depth
        self.body = _Body(width, depth)
        self.last = nn.Conv2d(width, 4, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.get_parameter("bias"))

    def forward(self, raw: Tensor) -> Tensor:
        """Run on planes R, Gr, Gb, B."""
        change: Tensor = self.last(self.body(raw))
        return raw + change


class _Body(nn.Module):
    """All of the U-Net but its last layer: (N, 4, h, w) to (N, width, h, w)."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        for option, value in (("width", width), ("depth", depth)):
            if value < 1:
                raise OptionError("raw-network.below-one", option, got=value)
        self.multiple = 2**depth
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(_double(i, o) for i, o in pairwise([4, *widths]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(o, i, 2, stride=2, bias=False) for i, o in pairwise(widths))
        self.join = nn.ModuleList(_double(o, i) for i, o in pairwise(widths))

    def forward(self, raw: Tensor) -> Tensor:
        """Run on any size, padded to a multiple of 2**depth by repeating the edge."""
        height, width = raw.shape[-2:]
        k = self.multiple
        bottom = (height + k - 1) // k * k - height
        right = (width + k - 1) // k * k - width
        x = F.pad(raw, (0, right, 0, bottom), mode="replicate")
        skips: list[Tensor] = []
        for level, convolutions in enumerate(self.down):
            x = convolutions(F.max_pool2d(x, 2) if level else x)  # (N, width * 2**level, h / 2**level, ...)
            skips.append(x)
        skips.pop()
        for up, join in zip(reversed(self.up), reversed(self.join), strict=True):
            x = join(torch.cat([up(x), skips.pop()], dim=1))
        return x[..., :height, :width]


def _double(channels: int, width: int) -> nn.Sequential:
    """Return two 3x3 convolutions with LeakyReLU 0.2, initialised to keep the variance (He et al., ICCV 2015)."""
    layers: list[nn.Module] = []
    for given in (channels, width):
        convolution = nn.Conv2d(given, width, 3, padding=1)
        nn.init.kaiming_normal_(convolution.weight, a=0.2)
        nn.init.zeros_(convolution.get_parameter("bias"))
        layers += [convolution, nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers)
