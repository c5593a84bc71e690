from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rawpy
import tifffile

from restore_hub.errors import DataError
from restore_hub.runtime.dng import write_dng
from restore_hub.runtime.mosaic import RawImage
from restore_hub.runtime.raw import read_raw

MATRIX = np.array([[0.7034, -0.0804, -0.1014], [-0.4420, 1.2564, 0.2058], [-0.0851, 0.1994, 0.5758]])
PHASES = [(0, 0), (0, 1), (1, 0), (1, 1)]


def values(height: int = 40, width: int = 50) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 65536, (height, width)).astype(np.uint16)


def write(path: Path, mosaic: np.ndarray, **changes: Any) -> Path:
    settings: dict[str, Any] = {
        "phase": (0, 0),
        "black": np.array([500, 510, 520, 530], np.float32),
        "white": np.full(4, 16383, np.float32),
        "balance": np.array([2.1, 1, 1, 1.7], np.float32),
        "balance_source": "camera",
        "camera_from_xyz": MATRIX,
    }
    write_dng(path, RawImage(mosaic, **(settings | changes)))
    return path


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("size", [(22, 22), (23, 22), (40, 51), (33, 67)])
def test_round_trip_is_exact(tmp_path: Path, phase: tuple[int, int], size: tuple[int, int]) -> None:
    mosaic = values(*size)
    path = write(tmp_path / "a.dng", mosaic, phase=phase, exposure_time=0.04, gain=2**-1.5, camera="Acme X 1")
    raw = read_raw(path)
    np.testing.assert_array_equal(raw.mosaic, mosaic)
    assert raw.phase == phase
    np.testing.assert_array_equal(raw.black, [500, 510, 520, 530])
    np.testing.assert_array_equal(raw.white, [16383] * 4)
    np.testing.assert_allclose(raw.balance, [2.1, 1, 1, 1.7], rtol=1e-5)
    assert raw.balance_source == "camera"
    assert raw.exposure_time == pytest.approx(0.04)
    assert raw.gain == pytest.approx(2**-1.5)
    assert raw.camera_from_xyz is not None
    np.testing.assert_allclose(raw.camera_from_xyz, MATRIX, atol=1e-5)
    assert raw.camera == "Acme X 1"


@pytest.mark.parametrize("phase", PHASES)
def test_libraw_sees_each_colour_where_it_is(tmp_path: Path, phase: tuple[int, int]) -> None:
    mosaic = np.empty((24, 26), np.uint16)
    for plane, level in enumerate((4000, 3000, 2000, 1000)):  # R, Gr, Gb, B
        y, x = divmod(plane, 2)
        mosaic[y ^ phase[0] :: 2, x ^ phase[1] :: 2] = level
    with rawpy.imread(str(write(tmp_path / "a.dng", mosaic, phase=phase))) as raw:
        colours = raw.raw_colors_visible
        letters = np.array(list(raw.color_desc.decode()))[colours]
        assert set(mosaic[letters == "R"]) == {4000}
        assert set(mosaic[letters == "B"]) == {1000}
        assert set(mosaic[letters == "G"]) == {3000, 2000}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_survives(tmp_path: Path, orientation: int) -> None:
    mosaic = values()
    raw = read_raw(write(tmp_path / "a.dng", mosaic, orientation=orientation))
    assert raw.orientation == orientation
    np.testing.assert_array_equal(raw.mosaic, mosaic)


def test_optional_tags_stay_away(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dng", values())
    raw = read_raw(path)
    assert raw.exposure_time is None
    assert raw.gain is None
    assert raw.noise is None
    with tifffile.TiffFile(path) as tiff:
        assert {"ExposureTime", "BaselineExposure", "DateTime", "Software"}.isdisjoint(
            tag.name for tag in tiff.pages.first.tags
        )


def test_same_input_gives_same_bytes(tmp_path: Path) -> None:
    one, two = (write(tmp_path / name, values(), exposure_time=0.1) for name in ("a.dng", "b.dng"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"balance": np.array([2, 1, 1.1, 2])}, "one positive factor"),
        ({"balance": np.array([0, 1, 1, 2])}, "one positive factor"),
        ({"black": np.array([-1, 2, 3, 4])}, "not negative"),
        ({"black": np.array([1, 2, 3, 16383])}, "below white"),
        ({"white": np.full(4, 70000)}, "65535"),
    ],
)
def test_refuses_settings(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        write(tmp_path / "a.dng", values(), **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mosaic", [values(21, 40), values().astype(np.float32), values()[..., None]])
def test_refuses_arrays(tmp_path: Path, mosaic: np.ndarray) -> None:
    with pytest.raises(DataError, match="uint16 mosaic of at least 22 x 22"):
        write(tmp_path / "a.dng", mosaic)


def test_refuses_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        write(tmp_path / "missing" / "a.dng", values())
