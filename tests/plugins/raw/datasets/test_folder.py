"""RAW files without references are the short exposures of `raw/pairs`, cut and flipped by the same draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from restore_hub.photo.raw.mosaic import GAIN_RANGE, PHASES, exposure_gain
from restore_hub.photo.raw.reader import read_raw
from restore_hub.testing import check_dataset
from restore_hub_raw.datasets.folder import Folder
from restore_hub_raw.datasets.pairs import Pairs
from restore_hub_raw.synthesis.make_folder import make_folder
from restore_hub_raw.synthesis.recipe import Recipe
from support import refused


@pytest.mark.parametrize("phase", list(PHASES))
def test_samples_are_those_of_the_short_exposures(photos: Path, tmp_path: Path, phase: str) -> None:
    make_folder(photos, tmp_path / "data", Recipe(phase=phase))
    pairs, dark = Pairs(tmp_path / "data", crop=16), Folder(tmp_path / "data" / "short", crop=16)
    check_dataset(dark)
    assert [dark.files(index) for index in range(len(dark))] == [
        (pairs.files(index)[0],) for index in range(len(pairs))
    ]
    for index in range(len(dark)):
        np.testing.assert_array_equal(dark.sample(index, None)["raw"], pairs.sample(index, None)["raw"])
        for seed in range(8):
            rng, other = np.random.default_rng(seed), np.random.default_rng(seed)
            np.testing.assert_array_equal(dark.sample(index, rng)["raw"], pairs.sample(index, other)["raw"])


def test_the_gain_is_given_or_that_of_the_file(photos: Path, tmp_path: Path) -> None:
    make_folder(photos, tmp_path / "data", Recipe(ratio=20.0))
    root = tmp_path / "data" / "short"
    asked = exposure_gain(read_raw(next(iter(sorted(root.iterdir())))))[0]
    assert asked == pytest.approx(20, rel=1e-3)
    one, own = Folder(root, gain=1.0).sample(0, None)["raw"], Folder(root).sample(0, None)["raw"]
    inside = own < 1
    np.testing.assert_allclose(own[inside], one[inside] * asked, rtol=1e-4, atol=1e-5)


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with refused("raw-data.no-folder", tmp_path / "absent"):
        Folder(tmp_path / "absent")
    (tmp_path / "a.txt").write_text("no picture")
    with refused("raw-data.no-files", tmp_path):
        Folder(tmp_path)
    with refused("raw-data.bad-crop", dataset="raw/folder"):
        Folder(tmp_path, crop=15)
    low, high = GAIN_RANGE
    with refused("raw-data.bad-gain", got=0.5, low=low, high=high):
        Folder(tmp_path, gain=0.5)
