"""Pairs whose tile does not begin with red, and whose black levels differ, are judged as others are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.raw.dng_writer import write_dng
from restore_hub.photo.raw.mosaic import PHASES, RawImage
from restore_hub.photo.raw.reader import read_raw
from restore_hub_raw.checks.pairs import _planes, check_pair, measured_share
from restore_hub_raw.synthesis.make_raw import Recipe, make_folder

BLACKS = np.array([512, 900, 200, 1400], np.float32)  # far apart, for a short exposure has 160 levels above them


def photo(height: int = 200, width: int = 240) -> np.ndarray:
    """A picture (H, W, 3) in [0, 1] with the 1/f spectrum of photographs."""
    rng = np.random.default_rng(3)
    fy, fx = np.fft.fftfreq(height)[:, None, None], np.fft.rfftfreq(width)[None, :, None]
    spectrum = np.fft.rfft2(
        rng.normal(size=(height, width, 1)) + 0.3 * rng.normal(size=(height, width, 3)), axes=(0, 1)
    )
    waves = np.fft.irfft2(spectrum / np.maximum(np.hypot(fy, fx), 1 / width), (height, width), axes=(0, 1))
    return np.clip(0.5 + 0.15 * waves / waves.std(), 0, 1)


def unequal(raw: RawImage) -> RawImage:
    """Return the same light above other black levels."""
    mosaic = raw.mosaic.astype(int)
    for plane in range(4):
        mosaic[plane // 2 ^ raw.phase[0] :: 2, plane % 2 ^ raw.phase[1] :: 2] += int(BLACKS[plane] - raw.black[plane])
    mosaic = np.clip(mosaic, 0, 16383).astype(np.uint16)
    return replace(raw, mosaic=mosaic, black=BLACKS)


@pytest.mark.parametrize("phase", ["grbg", "gbrg", "bggr"])
def test_planes_are_those_of_whole_tiles_that_begin_with_red(phase: str) -> None:
    top, left = PHASES[phase]
    white = np.array([1000, 2000, 3000, 4000], np.float32)
    mosaic = np.empty((9, 8), np.uint16)
    for plane in range(4):
        mosaic[plane // 2 ^ top :: 2, plane % 2 ^ left :: 2] = (BLACKS[plane] + white[plane] * (plane + 1)) / (
            plane + 2
        )
    planes = _planes(RawImage(mosaic, PHASES[phase], BLACKS, white + BLACKS, np.float32([2, 1, 1, 1.5]), "camera"))
    assert planes.shape == (4, (9 - top) // 2, (8 - left) // 2)
    for plane in range(4):
        level = (int((BLACKS[plane] + white[plane] * (plane + 1)) / (plane + 2)) - BLACKS[plane]) / white[plane]
        np.testing.assert_allclose(planes[plane], level, atol=1e-6)


@pytest.mark.parametrize("phase", ["grbg", "bggr"])
def test_a_pair_with_unequal_blacks_is_right(tmp_path: Path, phase: str) -> None:
    (tmp_path / "photos").mkdir()
    write_picture(tmp_path / "photos" / "a.png", photo(), bits=16)
    make_folder(tmp_path / "photos", tmp_path / "set", Recipe(50, phase=phase))
    paths = [tmp_path / "set" / side / "a.dng" for side in ("short", "long")]
    for path in paths:
        write_dng(path, unequal(read_raw(path)))
    verdict = check_pair(*paths)
    assert verdict.findings == []
    assert verdict.unknown == []
    measured = measured_share(*(read_raw(path) for path in paths))
    assert measured is not None
    assert 50 * measured[0] == pytest.approx(1, abs=0.02)
    (wrong,) = check_pair(*paths, ratio=80).findings
    assert wrong.problem == "exposure ratio"
