"""The exposure ratio of a pair, as files state it and as the pixels say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from restore_hub.photo.colour import linear_from_srgb
from restore_hub.photo.raw.dng_writer import write_dng
from restore_hub.photo.raw.mosaic import RawImage
from restore_hub.photo.raw.reader import read_raw
from restore_hub_raw.checks.exposure_ratio import measured_share, stated_ratios
from restore_hub_raw.synthesis.recipe import Recipe
from restore_hub_raw.synthesis.unprocess import expose, quantise, read_noise
from support.raw_pairs import SIDES, check_data, make_pairs, scene


def test_the_measured_share_is_unbiased(tmp_path: Path) -> None:
    folders = [make_pairs(tmp_path / str(seed), "a", Recipe(250, seed=seed)) for seed in range(12)]
    found = [measured_share(*(read_raw(folder / side / "a.dng") for side in SIDES)) for folder in folders]
    shares, errors = 250 * np.array(found).T
    assert np.mean(shares) == pytest.approx(1, abs=0.01)
    assert np.std(shares) < np.mean(errors) < 0.05


def test_the_black_level_is_uncertain_by_half_a_level() -> None:
    mosaic, four = np.full((160, 160), 512 + 4000, np.uint16), np.ones(4, np.float32)
    long = RawImage(mosaic, (0, 0), 512 * four, 16383 * four, four, "none")
    measured = measured_share(replace(long, mosaic=np.full((160, 160), 512 + 20, np.uint16)), long)
    assert measured == pytest.approx((20 / 4000, 0.5 / 4000), rel=1e-3)


def test_lamps_that_saturate_only_the_long_exposure_are_not_a_shift(clean: Path, tmp_path: Path) -> None:
    y, x = np.mgrid[:200, :240]
    rng = np.random.default_rng(0)
    light = linear_from_srgb(scene(200, 240, 0)[..., 1]) / 2
    for _ in range(8):
        top, left = rng.uniform(20, 180), rng.uniform(20, 180)
        light += 30 * np.exp(-((y - top) ** 2) / 30 - (x - left) ** 2 / np.where(x > left, 300, 10))
    pair = [read_raw(clean / "train" / side / "a.dng") for side in SIDES]
    mosaics = expose(light, 100, 2e-4, read_noise(2e-4), rng), light
    for side, raw, values in zip(SIDES, pair, mosaics, strict=True):
        (tmp_path / "set" / side).mkdir(parents=True)
        write_dng(tmp_path / "set" / side / "a.dng", replace(raw, mosaic=quantise(values, 512, 16383)))
    assert (light > 1).mean() > 0.05
    result = check_data(tmp_path / "set")
    assert result.exit_code == 0, result.stdout
    assert "note" not in result.stdout


def test_nothing_is_measured_where_the_long_exposure_is_black_or_saturated(clean: Path) -> None:
    short, long = (read_raw(clean / "train" / side / "a.dng") for side in SIDES)
    for level in (512, 16383):
        assert measured_share(short, replace(long, mosaic=np.full_like(long.mosaic, level))) is None


def test_names_state_ratios_as_exposure_times_do(clean: Path) -> None:
    raw: list[RawImage] = [read_raw(clean / "train" / side / "a.dng") for side in SIDES]
    stated = stated_ratios(Path("00001_00_0.04s.ARW"), Path("00001_00_30s.ARW"), raw[0], raw[1])
    assert stated == {"exposure times say": pytest.approx(100), "file names say": pytest.approx(750)}
    untimed_raw = replace(raw[1], exposure_time=None)
    assert stated_ratios(Path("a.dng"), Path("b.dng"), raw[0], untimed_raw) == {}
