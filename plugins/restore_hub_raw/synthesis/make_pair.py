"""A short and a long RAW exposure of one photo."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.photo.raw.mosaic import PHASES
from restore_hub_raw.synthesis import unprocess
from restore_hub_raw.synthesis.recipe import Recipe

BLACK, WHITE = 512, 16383  # 14 bits, as in the Sony files of Chen et al., CVPR 2018
_BAND = 512  # rows, an even number


def make_pair(
    photo: NDArray[Any], recipe: Recipe, rng: np.random.Generator
) -> tuple[NDArray[np.uint16], NDArray[np.uint16], NDArray[np.float64]]:
    """Make a noisy short and a clean long exposure of a photo, sRGB (H, W, 3) in [0, 1].

    Returns:
        Two uint16 mosaics (H, W) with levels `BLACK` and `WHITE`, and the white balance of R, Gr, Gb, B, drawn.
    """
    balance = unprocess.draw_balance(rng)
    short, long = (np.empty(photo.shape[:2], np.uint16) for _ in range(2))
    for top in range(0, len(photo), _BAND):  # a large photo in one piece would take gigabytes
        rows = slice(top, top + _BAND)
        colours = unprocess.sensor_rgb(photo[rows].astype(np.float64), unprocess.CANON_6D, balance, recipe.tone)
        signal = unprocess.mosaic(colours, PHASES[recipe.phase])
        long[rows] = unprocess.quantise(signal, BLACK, WHITE)
        dark = unprocess.expose(signal, recipe.ratio, recipe.shot, recipe.read, rng)
        short[rows] = unprocess.quantise(dark, BLACK, WHITE)
    return short, long, balance
