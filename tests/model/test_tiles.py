"""Tiles cover a picture once, begin where the graph's stride and the CFA want it, and read their surroundings."""

from __future__ import annotations

import numpy as np
import pytest

from restore_hub.model.tiles import tiles


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 64), (64, 64), (65, 63), (200, 133)])
@pytest.mark.parametrize(("core", "margin", "align"), [(16, 0, 1), (30, 5, 4), (64, 20, 16), (1, 1, 2)])
def test_every_pixel_is_kept_once_with_a_margin(height: int, width: int, core: int, margin: int, align: int) -> None:
    count = np.zeros((height, width), int)
    for tile in tiles(height, width, core, margin, align):
        count[tile.keep] += 1
        for size, read, keep in zip((height, width), tile.read, tile.keep, strict=True):
            assert read.start % align == 0
            assert keep.start % align == 0
            assert read.start <= max(keep.start - margin, 0)
            assert read.stop >= min(keep.stop + margin, size)
            assert 0 <= read.start < read.stop <= size
    assert (count == 1).all()


def test_the_crop_is_the_kept_part_in_a_tiles_coordinates() -> None:
    picture = np.arange(40 * 50).reshape(40, 50)
    for tile in tiles(40, 50, 16, 6, 4):
        assert np.array_equal(picture[tile.read][tile.crop], picture[tile.keep])


def test_no_more_is_read_than_core_and_margin() -> None:
    largest = max(tile.read[0].stop - tile.read[0].start for tile in tiles(500, 500, 60, 10, 8))
    assert largest == 64 + 2 * 16
