"""The receptive field of a network, in pixels, found by altering one pixel and seeing which outputs change."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Run = Callable[[Tensor], Tensor]
SIDES = (128, 256, 512, 1024)  # of the pictures tried, until the change stays inside
FAR = 100.0  # far beyond the values of a picture, 0 to 1


def receptive_field(run: Run, channels: int, align: int) -> int | None:
    """Return the largest distance, in pixels, from an input pixel to an output that depends on it.

    NaN passes through every sum, product, maximum and activation, whatever the weights are; a gradient would miss
    what an activation happens to cut off. Comparisons, such as a median filter's, stop NaN, so a very low and a very
    high pixel are compared too. Both may miss something: compare tiles with the whole before relying on the figure.

    Args:
        run: the network on (1, channels, H, W); its output is (1, C, H, W).
        channels: of the input.
        align: what tiles are aligned to; a pixel at each corner of such a cell is tried.

    Returns:
        `None` if something looks at the whole picture.
    """
    for side in SIDES:
        found = 0
        for place in _places(side, align):
            found = max(found, _spread(run, channels, side, place))
            if found == side:
                break
        else:
            return found
    return None


def _places(side: int, align: int) -> Sequence[tuple[int, int]]:
    start = side // 2 // align * align
    return [(start + y, start + x) for y in {0, align - 1} for x in {0, align - 1}]


def _spread(run: Run, channels: int, side: int, place: tuple[int, int]) -> int:
    """Return how far an altered pixel changes the output; the picture's side if that reaches an edge."""

    def altered(value: float) -> Tensor:
        picture = torch.rand(1, channels, side, side, generator=torch.Generator().manual_seed(0))
        picture[:, :, place[0], place[1]] = value
        with torch.inference_mode():
            return run(picture)[0]

    touched = (altered(torch.nan).isnan() | (altered(-FAR) != altered(FAR))).any(0).nonzero()
    if len(touched) == 0:
        return 0
    if touched.min() == 0 or touched.max() == side - 1:
        return side
    return int((touched - torch.tensor(place)).abs().max())
