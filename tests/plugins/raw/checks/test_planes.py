"""Planes whose tile doesn't begin with red, and whose black levels differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from restore_hub.photo.raw.dng_writer import write_dng
from restore_hub.photo.raw.mosaic import PHASES, RawImage, planes
from restore_hub.photo.raw.reader import read_raw
from restore_hub_raw.checks.exposure_ratio import measured_share
from restore_hub_raw.checks.pair import check_pair
from restore_hub_raw.checks.planes import planes_of
from restore_hub_raw.synthesis.recipe import Recipe
from support.raw_pairs import SIDES, make_pairs

BLACKS = np.array([512, 900, 200, 1400], np.float32)  # far apart, for a short exposure has 160 levels above them


def unequal(raw: RawImage) -> RawImage:
    """Return the same light above other black levels."""
    mosaic = raw.mosaic.astype(int)
    for plane, change in zip(planes(mosaic, raw.phase), BLACKS - raw.black, strict=True):
        plane += int(change)
    mosaic = np.clip(mosaic, 0, 16383).astype(np.uint16)
    return replace(raw, mosaic=mosaic, black=BLACKS)


@pytest.mark.parametrize("phase", ["grbg", "gbrg", "bggr"])
def test_planes_are_those_of_whole_tiles_that_begin_with_red(phase: str) -> None:
    top, left = PHASES[phase]
    white, values = np.array([1000, 2000, 3000, 4000], np.float32), [756, 1900, 2300, 3480]
    mosaic = np.empty((9, 8), np.uint16)
    for plane, value in zip(planes(mosaic, PHASES[phase]), values, strict=True):
        plane[...] = value
    found = planes_of(RawImage(mosaic, PHASES[phase], BLACKS, white + BLACKS, np.float32([2, 1, 1, 1.5]), "camera"))
    expected = ((values - BLACKS) / white)[:, None, None]
    assert found.shape == (4, (9 - top) // 2, (8 - left) // 2)
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-6)


@pytest.mark.parametrize("phase", ["grbg", "bggr"])
def test_a_pair_with_unequal_blacks_is_right(tmp_path: Path, phase: str) -> None:
    folder = make_pairs(tmp_path / "set", "a", Recipe(50, phase=phase))
    paths = [folder / side / "a.dng" for side in SIDES]
    for path in paths:
        write_dng(path, unequal(read_raw(path)))
    verdict = check_pair(*paths)
    assert verdict.findings == []
    assert verdict.undetermined == []
    measured = measured_share(*(read_raw(path) for path in paths))
    assert measured is not None
    assert 50 * measured[0] == pytest.approx(1, abs=0.02)
    (wrong,) = check_pair(*paths, ratio=80).findings
    assert wrong.problem == "exposure ratio"
