"""Which of LibRaw's facts are taken: checked on a stand-in, since no small file has these cases."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from restore_hub.photo.colour import XYZ_FROM_SRGB, camera_from_srgb
from restore_hub.photo.raw.bayer import Bayer
from restore_hub.photo.raw.camera_file import RawFile
from restore_hub.photo.raw.dng_tags import Tags
from restore_hub.photo.raw.layouts import Layout
from restore_hub.photo.raw.mosaic import RawImage
from support.raw_files import MATRIX


def opened(**changes: Any) -> RawImage:
    """Return what is made of an opened file without tags: bggr, 14 bits."""
    facts = {"raw_pattern": np.array([[2, 3], [1, 0]]), "raw_image_visible": np.full((8, 8), 700, np.uint16)}
    facts |= {"black_level_per_channel": [500, 510, 520, 530], "white_level": 16383}
    facts |= {"camera_white_level_per_channel": [15000, 15100, 15200, 15300]}
    facts |= {"camera_whitebalance": [2.0, 1.0, 1.5, 0.0], "daylight_whitebalance": [2.1, 1.0, 1.4, 0.0]}
    facts |= {"rgb_xyz_matrix": np.zeros((4, 3)), "color_matrix": np.zeros((3, 4))}
    facts |= {"sizes": SimpleNamespace(raw_height=8, raw_width=8, top_margin=0, left_margin=0, flip=0)}
    facts |= {"other": SimpleNamespace(shutter_speed=0.5)}
    layout = Layout(3, ("BG", "GR"))
    assert Bayer().takes(layout)
    return Bayer().read(RawFile(Path(__file__), SimpleNamespace(**(facts | changes)), layout, Tags(exif={})))


def test_white_is_saturation_and_not_where_a_sensor_stops_being_linear() -> None:
    raw = opened()
    assert raw.white.tolist() == [16383] * 4
    assert raw.phase == (1, 1)
    assert raw.black.tolist() == [500, 510, 530, 520]  # R, Gr, Gb, B of LibRaw's R, G, B, second G
    assert raw.balance.tolist() == [2, 1, 1, 1.5]


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_a_matrix_that_only_libraws_form_holds(scale: float) -> None:
    """LibRaw keeps camera to sRGB with rows of sRGB to camera that sum to 1; the sums are daylight's factors."""
    sums = (MATRIX @ XYZ_FROM_SRGB).sum(axis=1)
    daylight = [*(scale / sums), 0.0]
    embedded = np.concatenate([np.linalg.inv(camera_from_srgb(MATRIX)), np.zeros((3, 1))], axis=1)
    raw = opened(color_matrix=embedded, daylight_whitebalance=daylight)
    np.testing.assert_allclose(raw.camera_from_xyz, MATRIX / min(sums), atol=1e-9)
    np.testing.assert_allclose(raw.to_srgb, embedded[:, :3], atol=1e-5)


@pytest.mark.filterwarnings("error")
def test_the_table_of_cameras_goes_before_it_and_damage_is_no_matrix() -> None:
    table = np.concatenate([MATRIX, np.zeros((1, 3))])
    embedded = np.eye(3, 4)
    found = opened(rgb_xyz_matrix=table, color_matrix=embedded).camera_from_xyz
    np.testing.assert_array_equal(found, MATRIX)
    assert opened(color_matrix=np.ones((3, 4))).camera_from_xyz is None
    assert opened(color_matrix=embedded, daylight_whitebalance=[1.0, 0.0, 1.0, 0.0]).camera_from_xyz is None
    assert opened(rgb_xyz_matrix=table * np.nan).camera_from_xyz is None
    assert opened().camera_from_xyz is None
