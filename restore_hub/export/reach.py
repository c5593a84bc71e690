"""How far a value of the output looks: the receptive field, found by following values that are not numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Run = Callable[[Tensor], Tensor]
SIDES = (128, 256, 512, 1024)  # of the pictures tried, until the spread ends inside


def reach(run: Run, channels: int, align: int) -> int | None:
    """Return the largest distance, in pixels, from an input pixel to an output that depends on it.

    NaN passes through every sum, product, maximum and activation, whatever the weights are, so that what it touches
    is what depends on the pixel; a gradient would miss what an activation happens to cut off. Comparisons stop it,
    so whoever relies on the figure compares tiles with the whole as well.

    Args:
        run: the graph on (1, channels, H, W); its output is (1, C, H, W).
        channels: of the input.
        align: what tiles are aligned to; a pixel at each corner of such a cell is tried.

    Returns:
        `None` where it has no end: something looks at the whole picture.
    """
    for side in SIDES:
        found = [_spread(run, channels, side, place) for place in _places(side, align)]
        if all(distance is not None for distance in found):
            return max(distance for distance in found if distance is not None)
    return None


def _places(side: int, align: int) -> Sequence[tuple[int, int]]:
    start = side // 2 // align * align
    return [(start + y, start + x) for y in {0, align - 1} for x in {0, align - 1}]


def _spread(run: Run, channels: int, side: int, place: tuple[int, int]) -> int | None:
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(1, channels, side, side, generator=generator)
    picture[:, :, place[0], place[1]] = torch.nan
    with torch.inference_mode():
        touched = run(picture)[0].isnan().any(0).nonzero()
    if len(touched) == 0:
        return 0
    low, high = touched.min().item(), touched.max().item()
    if low == 0 or high == side - 1:
        return None
    return int(max((touched - torch.tensor(place)).abs().max().item(), 0))
