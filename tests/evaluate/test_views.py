"""What metrics and people see of tensors: only pictures are clipped, rounded or shown."""

from __future__ import annotations

import numpy as np
import pytest

from restore_hub.contracts import Port
from restore_hub.evaluate.views import for_metric, for_people

VALUES = np.array([0, 1, 2, 7, -3])


@pytest.mark.parametrize(
    ("array", "port"),
    [
        (VALUES.reshape(1, 5), Port.classes(8)),
        (VALUES.reshape(1, 1, 5).repeat(2, axis=0).astype(np.float32), Port(2, "map", -3, 7)),
        (VALUES.reshape(1, 1, 5).astype(np.float32), Port(1, "map")),
        (VALUES.reshape(1, 1, 1, 5).astype(np.float32), Port(1, "srgb", axes=("channel", "z", "y", "x"))),
        (np.full((5, 4), 99.5, np.float32), Port.several("box", 0, 100, coordinate=4)),
        (np.array(-0.3, np.float32), Port.number(-1, 1)),
    ],
    ids=["classes", "field", "map", "volume", "boxes", "number"],
)
def test_what_is_no_picture_stays_as_it_is_and_is_not_shown(array: np.ndarray, port: Port) -> None:
    seen = for_metric(array, port)
    assert (seen.dtype, seen.shape) == (array.dtype, array.shape)
    assert np.array_equal(seen, array)
    assert for_people(array, port) is None


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_metric_sees_a_picture_of_any_channels_at_8_bits(channels: int) -> None:
    values = np.float32([0, 0.5, 1, 7, -3]).reshape(1, 1, 5).repeat(channels, axis=0)
    seen = for_metric(values, Port(channels))
    assert (seen.dtype, seen.shape) == (np.float64, (1, 5, channels))
    assert seen[0, :, 0].tolist() == [0, 128 / 255, 1, 1, 0]


def test_a_picture_that_is_not_a_number_is_no_black_one_to_a_metric() -> None:
    assert np.isnan(for_metric(np.full((3, 2, 2), np.nan, np.float32), Port(3))).all()


def test_people_see_grey_linear_light_and_planes() -> None:
    light = np.float32([[[0, 0.002, 0.5, 7, np.nan]]])
    plain = for_people(light, Port(1))
    assert plain is not None
    assert (plain.dtype, plain.shape) == (np.uint8, (1, 5, 3))
    assert plain[0].tolist() == [[v] * 3 for v in (0, 1, 128, 255, 0)]
    # 255 * (12.92 * 0.002) and 255 * (1.055 * 0.5^(1/2.4) - 0.055)
    curved = [[v] * 3 for v in (0, 7, 188, 255, 0)]
    for port in (Port(1, "linear"), Port(None, "linear"), Port(1, "raw")):
        shown = for_people(light, port)
        assert shown is not None
        assert shown[0].tolist() == curved
    planes = np.zeros((4, 1, 1), np.float32)
    planes[1:3, 0, 0] = 1, 0  # two greens: their mean
    shown = for_people(planes, Port(4, "raw", scale=0.5))
    assert shown is not None
    assert shown.tolist() == [[[0, 188, 0]] * 2] * 2


@pytest.mark.parametrize("port", [Port(2), Port(4), Port(None)], ids=["two", "four", "unknown"])
def test_pictures_of_other_channels_are_not_shown(port: Port) -> None:
    assert for_people(np.zeros((port.channels or 5, 2, 2), np.float32), port) is None
