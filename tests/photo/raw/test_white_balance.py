"""White balance as asked for: by name or by number, and the same for the whole path of a photograph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rawpy

from restore_hub import restore
from restore_hub.photo.pictures import read_picture
from restore_hub.photo.raw.mosaic import RawImage
from restore_hub.photo.raw.reader import read_raw
from restore_hub.photo.raw.white_balance import check_balance, with_balance
from support import refused
from support.models import Write
from support.raw_files import MATRIX


def test_what_is_asked_for_goes_before_the_file(models: Path, tmp_path: Path, write_raw: Write) -> None:
    """The gain by the mean green and the picture are those of a file that states this balance itself."""
    photo = write_raw(tmp_path / "a.dng")
    other = write_raw(tmp_path / "b.dng", balance=np.float32([1.25, 1, 1, 3]))
    asked = restore(models / "chain.onnx", photo, tmp_path / "a.png", bits=16, balance=(2.5, 2, 6))
    stated = restore(models / "chain.onnx", other, tmp_path / "b.png", bits=16)
    assert asked.notes[1] == "white balance red 1.25, green 1, blue 3 (given)"
    assert stated.notes[1] == "white balance red 1.25, green 1, blue 3 (camera)"
    assert asked.notes[0] == stated.notes[0]
    pixels = read_picture(asked.path).pixels
    np.testing.assert_array_equal(pixels, read_picture(stated.path).pixels)
    plain = restore(models / "chain.onnx", photo, tmp_path / "c.png", bits=16)
    assert np.abs(pixels - read_picture(plain.path).pixels).max() > 1e-3


def test_camera_is_what_the_file_states_or_an_error(tmp_path: Path, write_raw: Write) -> None:
    raw = read_raw(write_raw(tmp_path / "a.dng"))
    assert with_balance(raw, "camera", Path("a.dng")) is raw
    assert with_balance(raw, None, Path("a.dng")) is raw
    assert with_balance(replace(raw, balance_source="sidecar"), "camera", Path("a.dng")).balance is raw.balance
    for source in ("daylight", "none"):
        with refused("raw.no-camera-balance", "a.dng"):
            with_balance(replace(raw, balance_source=source), "camera", Path("a.dng"))


def test_daylight_is_that_of_libraw(tmp_path: Path, write_raw: Write) -> None:
    path = write_raw(tmp_path / "a.dng", camera_from_xyz=MATRIX)
    made = with_balance(read_raw(path), "daylight", path)
    with rawpy.imread(str(path)) as raw:
        expected = np.array(raw.daylight_whitebalance)[[0, 1, 1, 2]]
    np.testing.assert_allclose(made.balance, expected / expected.min(), rtol=3e-4)
    assert made.balance_source == "daylight"
    assert made.balance.min() == 1
    assert made.balance.dtype == np.float32
    assert not np.allclose(made.balance, [2, 1, 1, 1.5], rtol=0.05)
    assert with_balance(made, "daylight", path) is made


@pytest.mark.parametrize("matrix", [None, np.diag([1.0, 1.0, 1e-5]), -np.eye(3)])
def test_daylight_is_an_error_where_no_matrix_is_known(tmp_path: Path, write_raw: Write, matrix: Any) -> None:
    raw: RawImage = replace(read_raw(write_raw(tmp_path / "a.dng")), camera_from_xyz=matrix)
    with refused("raw.no-daylight-balance", "a.dng"):
        with_balance(raw, "daylight", tmp_path / "a.dng")
    np.testing.assert_array_equal(with_balance(raw, (0.5, 0.25, 100), Path("a")).balance, [2, 1, 1, 400])


@pytest.mark.parametrize(
    "balance", ["flash", (1.0, 2.0), (1.0, 1.0, 1.0, 1.0), (0.0, 1.0, 1.0), (1.0, 101.0, 1.0), (1.0, float("nan"), 1.0)]
)
def test_bad_white_balances(balance: Any) -> None:
    with refused("raw.bad-balance", balance=balance):
        check_balance(balance)
