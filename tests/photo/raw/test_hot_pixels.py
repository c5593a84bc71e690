"""Hot pixels are found and repaired; stars, edges and noise stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from restore_hub.photo.raw.dng_writer import write_dng
from restore_hub.photo.raw.hot_pixels import repair_hot_pixels
from restore_hub.photo.raw.mosaic import PHASES, RawImage
from restore_hub.photo.raw.reader import read_raw
from support.real import DATA, real


def dark(phase: tuple[int, int], noise: float = 4.0, seed: int = 0) -> RawImage:
    """A dark picture of unequal blacks, 14 bits."""
    rng = np.random.default_rng(seed)
    black = np.array([500, 510, 520, 530], np.float32)
    mosaic = 30 + noise * rng.standard_normal((60, 70))
    for plane in range(4):
        mosaic[plane // 2 ^ phase[0] :: 2, plane % 2 ^ phase[1] :: 2] += black[plane]
    balance = np.array([2, 1, 1, 1.5], np.float32)
    return RawImage(np.rint(mosaic).astype(np.uint16), phase, black, np.full(4, 16383, np.float32), balance, "camera")


@pytest.mark.parametrize("phase", PHASES.values())
def test_hot_pixels_are_repaired_and_nothing_else_changes(phase: tuple[int, int]) -> None:
    raw = dark(phase)
    clean = raw.mosaic.copy()
    places = [(2, 2), (10, 11), (20, 21), (31, 30), (41, 41), (57, 67)]
    for number, place in enumerate(places):
        raw.mosaic[place] = 900 + 3000 * number
    repaired = repair_hot_pixels(raw)
    assert repaired.hot_pixels == len(places)
    changed = np.argwhere(repaired.mosaic != raw.mosaic)
    assert [tuple(place) for place in changed] == sorted(places)
    assert np.abs(repaired.mosaic.astype(int) - clean).max() < 30  # each from its own colour, whose black differs


def test_what_optics_can_make_stays() -> None:
    raw = dark((0, 0))
    y, x = np.mgrid[:60, :70]
    colour = np.where((y + x) % 2, 1.0, np.where(y % 2, 1 / 1.5, 1 / 2.0))  # what the balance makes white
    for top, left in ((15.3, 20.6), (40.0, 50.0), (20.0, 31.0), (5.0, 9.0)):  # stars a pixel and a half wide
        star = 9000 * np.exp(-((y - top) ** 2 + (x - left) ** 2) / (2 * 0.7**2))
        raw.mosaic[:] += np.rint(colour * star).astype(np.uint16)
    raw.mosaic[:, 60:] += 8000  # an edge
    raw.mosaic[30, :] += 4000  # a line
    assert repair_hot_pixels(raw).hot_pixels == 0


@pytest.mark.parametrize("noise", [1.0, 10.0, 100.0])
def test_noise_stays(noise: float) -> None:
    assert sum(repair_hot_pixels(dark((0, 1), noise, seed)).hot_pixels for seed in range(20)) == 0


def quantised(kind: str, seed: int = 0) -> RawImage:
    """Darkness in a few levels, most of it at black or cut off there."""
    rng = np.random.default_rng(seed)
    four, size = np.ones(4, np.float32), (300, 300)
    values, white = {
        "8 bits": (rng.poisson(0.05, size), 255),
        "10 bits": (rng.poisson(0.05, size), 1023),
        "12 bits": (rng.normal(-3, 2.5, size), 4095),
        "14 bits": (rng.normal(-30, 25, size), 16383),
    }[kind]
    mosaic = np.rint(np.maximum(values, 0)).astype(np.uint16)
    return RawImage(mosaic, (0, 0), 0 * four, white * four, np.array([2, 1, 1, 1.5], np.float32), "camera")


@pytest.mark.parametrize(("kind", "most"), [("8 bits", 0), ("10 bits", 0), ("12 bits", 0), ("14 bits", 1e-5)])
def test_darkness_in_a_few_levels_holds_no_hot_pixels(kind: str, most: float) -> None:
    """Of noise whose larger part is cut off at black, what is left says too little to tell the last few."""
    found = sum(repair_hot_pixels(quantised(kind, seed)).hot_pixels for seed in range(10))
    assert found / (10 * 300 * 300) <= most


@pytest.mark.parametrize(("kind", "level"), [("8 bits", 100), ("10 bits", 100), ("12 bits", 100), ("14 bits", 1000)])
def test_a_hot_pixel_in_darkness_is_found(kind: str, level: int) -> None:
    raw = quantised(kind)
    raw.mosaic[98:103, 149:154] = 0
    raw.mosaic[100, 151] = level
    repaired = repair_hot_pixels(raw)
    assert repaired.hot_pixels == 1
    assert repaired.mosaic[100, 151] == 0


def frame(mosaic: np.ndarray, black: int, white: int) -> RawImage:
    four = np.ones(4, np.float32)
    return RawImage(mosaic, (0, 0), black * four, white * four, four, "none")


def test_single_counts_in_a_black_frame_stay() -> None:
    """No noise can be measured: the values stand on rows that are passed over for speed."""
    mosaic = np.zeros((1000, 40), np.uint16)
    mosaic[101:900:100, 20] = np.arange(2, 10)
    assert repair_hot_pixels(frame(mosaic, 0, 255)).hot_pixels == 0
    mosaic[501, 20] = 50
    assert repair_hot_pixels(frame(mosaic, 0, 255)).hot_pixels == 1
    even = np.full((200, 200), 500, np.uint16)
    even[50, 60] = even[120, 31] = 900
    assert repair_hot_pixels(frame(even, 500, 16383)).hot_pixels == 2


@pytest.mark.parametrize("step", [(0, 2), (2, 0), (2, -2), (-2, -2)])
def test_two_bright_neighbours_of_one_colour_stay(step: tuple[int, int]) -> None:
    raw = dark((0, 0))
    raw.mosaic[30, 30] = raw.mosaic[30 + step[0], 30 + step[1]] = 9000
    assert repair_hot_pixels(raw).hot_pixels == 0
    raw.mosaic[30 + step[0], 30 + step[1]] = 530
    assert repair_hot_pixels(raw).hot_pixels == 1


def test_reading_repairs_only_when_asked(tmp_path: Path) -> None:
    raw = dark((1, 0))
    raw.mosaic[30, 31] = 9000
    write_dng(tmp_path / "a.dng", raw)
    assert read_raw(tmp_path / "a.dng").mosaic[30, 31] == 9000
    assert read_raw(tmp_path / "a.dng").hot_pixels == 0
    repaired = read_raw(tmp_path / "a.dng", repair=True)
    assert repaired.mosaic[30, 31] < 700
    assert repaired.hot_pixels == 1


@pytest.mark.parametrize("size", [(1, 1), (4, 9), (5, 5)])
def test_small_mosaics(size: tuple[int, int]) -> None:
    assert repair_hot_pixels(frame(np.full(size, 7, np.uint16), 0, 100)).hot_pixels == 0


@real
def test_a_real_sensor() -> None:
    path = DATA / "raw" / "tinydng_colorchart" / "colorchart.dng"
    raw, repaired = read_raw(path), read_raw(path, repair=True)
    assert repaired.hot_pixels == 6
    for y, x in np.argwhere(raw.mosaic != repaired.mosaic):
        around = np.delete(raw.mosaic[y - 1 : y + 2, x - 1 : x + 2].astype(int) - 2056, 4)
        assert raw.mosaic[y, x] - 2056 > 2 * max(around)
