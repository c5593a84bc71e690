"""A mosaic to planes, and back to the picture's place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from restore_hub.photo.raw.mosaic import PHASES, RawImage, exposure_gain, pack
from support.raw_files import make_noise

PLAIN: dict[str, Any] = {"black": [0] * 4, "white": [1] * 4, "balance": [1] * 4, "gain": 1.0}


def bounce(j: int, size: int) -> int:
    """Mirror an index into 0..size-1, one step at a time."""
    while size > 1 and not 0 <= j < size:
        j = -j if j < 0 else 2 * (size - 1) - j
    return j if size > 1 else 0


def pack_slowly(
    mosaic: np.ndarray, phase: tuple[int, int], black: Any, white: Any, balance: Any, gain: float
) -> np.ndarray:
    height, width = mosaic.shape
    planes = np.zeros((4, (height + 2) // 2, (width + 2) // 2))
    for plane in range(4):
        for y in range(planes.shape[1]):
            for x in range(planes.shape[2]):
                row = bounce(2 * y + plane // 2 - phase[0], height)
                column = bounce(2 * x + plane % 2 - phase[1], width)
                level = (float(mosaic[row, column]) - black[plane]) / (white[plane] - black[plane])
                planes[plane, y, x] = min(level * balance[plane] * gain, 1.0)
    return planes


@pytest.mark.parametrize("phase", PHASES.values())
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (7, 1), (2, 2), (2, 5), (3, 4), (5, 5), (6, 8), (4, 3)])
def test_pack_agrees_with_a_loop_over_pixels(phase: tuple[int, int], size: tuple[int, int]) -> None:
    mosaic = make_noise(*size)
    levels = {"black": [60, 70, 80, 90], "white": [4000, 3900, 3800, 3700], "balance": [2, 1, 1.1, 1.5], "gain": 1.7}
    planes = pack(mosaic, phase, **levels)
    assert planes.dtype == np.float32
    assert planes.shape == (4, -(-(size[0] + 1) // 2), -(-(size[1] + 1) // 2))
    np.testing.assert_allclose(planes, pack_slowly(mosaic, phase, **levels), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("phase", PHASES.values())
@pytest.mark.parametrize("size", [(2, 2), (2, 3), (3, 2), (5, 4), (6, 7)])
def test_planes_hold_one_colour_each_up_to_the_border(phase: tuple[int, int], size: tuple[int, int]) -> None:
    mosaic = np.empty(size, np.uint16)
    for plane in range(4):
        y, x = divmod(plane, 2)
        mosaic[y ^ phase[0] :: 2, x ^ phase[1] :: 2] = plane
    planes = pack(mosaic, phase, **(PLAIN | {"white": [10] * 4}))
    for plane in range(4):
        assert np.unique(planes[plane]).tolist() == [np.float32(plane) / np.float32(10)]


@pytest.mark.parametrize("phase", PHASES.values())
@pytest.mark.parametrize("size", [(1, 1), (4, 5), (7, 8)])
def test_the_documented_crop_is_aligned_with_the_mosaic(phase: tuple[int, int], size: tuple[int, int]) -> None:
    mosaic = make_noise(*size)
    planes = pack(mosaic, phase, **(PLAIN | {"white": [4096] * 4}))
    full = planes.reshape(2, 2, *planes.shape[1:]).transpose(2, 0, 3, 1).reshape(2 * planes.shape[1], -1)
    cut = full[phase[0] : phase[0] + size[0], phase[1] : phase[1] + size[1]]
    np.testing.assert_array_equal(np.rint(cut * 4096), mosaic)


def test_pack_clips_highlights_and_keeps_noise_below_black() -> None:
    mosaic = np.array([[90, 100], [150, 200]], np.uint16)
    planes = pack(mosaic, (0, 0), [100] * 4, [200] * 4, [1, 1, 2, 1], 2.0)[:, 0, 0]
    np.testing.assert_allclose(planes, [-0.2, 0.0, 1.0, 1.0], atol=1e-7)


def test_exposure_gain_rules() -> None:
    def raw(level: int, gain: float | None) -> RawImage:
        four = np.ones(4, np.float32)
        mosaic = np.full((8, 8), level, np.uint16)
        return RawImage(mosaic, (0, 0), 100 * four, 1100 * four, four, "none", gain=gain)

    assert exposure_gain(raw(200, 8.0)) == (8.0, "stated in the file's metadata")
    assert exposure_gain(raw(200, None))[0] == pytest.approx(1.8)  # mean 0.1
    assert exposure_gain(raw(200, None))[1] == "brings the mean green 0.1 to 0.18"
    assert exposure_gain(raw(1000, None)) == (1.0, "towards 0.18 for the mean green 0.9, limited to 1")
    assert exposure_gain(raw(100, None)) == (300.0, "towards 0.18 for the mean green 0, limited to 300")
    assert exposure_gain(raw(90, None))[0] == 300.0


def test_clipped_sites_are_those_of_their_own_white() -> None:
    """Only red stands at its white level; at blue's sites, where the tile begins, the same level is none."""
    mosaic = np.full((6, 8), 9, np.uint16)
    mosaic[::2, ::2] = 8  # blue of bggr
    four = np.ones(4, np.float32)
    raw = RawImage(mosaic, (1, 1), 0 * four, np.array([9, 10, 11, 12], np.float32), four, "none")
    assert raw.clipped() == 0.25
