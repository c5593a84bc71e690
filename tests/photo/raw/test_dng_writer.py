from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rawpy
import tifffile

from restore_hub.photo.colour import linear_from_srgb
from restore_hub.photo.pictures import orient, read_picture
from restore_hub.photo.raw.dng_writer import encode_linear_dng, write_dng, write_linear_dng
from restore_hub.photo.raw.mosaic import PHASES
from restore_hub.photo.raw.reader import read_raw
from restore_hub.photo.tiff import RATIONAL, SHORT, UNDEFINED, Directory, Field, numbers, rationals, text
from support import refused
from support.raw_files import MATRIX, make_dng


def values(height: int = 40, width: int = 50) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 65536, (height, width)).astype(np.uint16)


def write(path: Path, mosaic: np.ndarray, **changes: Any) -> Path:
    settings: dict[str, Any] = {
        "black": np.array([500, 510, 520, 530], np.float32),
        "white": np.full(4, 16383, np.float32),
        "balance": np.array([2.1, 1, 1, 1.7], np.float32),
    }
    return make_dng(path, mosaic, **(settings | changes))


@pytest.mark.parametrize("phase", PHASES.values())
@pytest.mark.parametrize("size", [(22, 22), (23, 22), (40, 51), (33, 67)])
def test_round_trip_is_exact(tmp_path: Path, phase: tuple[int, int], size: tuple[int, int]) -> None:
    mosaic = values(*size)
    path = write(tmp_path / "a.dng", mosaic, phase=phase, exposure_time=0.04, baseline_exposure=-1.5, camera="Acme X 1")
    raw = read_raw(path)
    np.testing.assert_array_equal(raw.mosaic, mosaic)
    assert raw.phase == phase
    np.testing.assert_array_equal(raw.black, [500, 510, 520, 530])
    np.testing.assert_array_equal(raw.white, [16383] * 4)
    np.testing.assert_allclose(raw.balance, [2.1, 1, 1, 1.7], rtol=1e-5)
    assert raw.balance_source == "camera"
    assert raw.exposure_time == pytest.approx(0.04)
    assert raw.baseline_exposure == pytest.approx(-1.5)
    assert raw.gain is None  # too little to say anything of this photo
    np.testing.assert_allclose(raw.camera_from_xyz, MATRIX, atol=1e-5)
    assert raw.camera == "Acme X 1"


@pytest.mark.parametrize("black", [[512.5] * 4, [500.25, 501.5, 499.75, 502.125]])
def test_fractions_of_black_levels_survive(tmp_path: Path, black: list[float]) -> None:
    raw = read_raw(write(tmp_path / "a.dng", values(), phase=(1, 0), black=np.array(black, np.float32)))
    assert raw.black.tolist() == black


@pytest.mark.parametrize("phase", PHASES.values())
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
    assert (raw.exposure_time, raw.gain, raw.noise) == (None, None, None)
    with tifffile.TiffFile(path) as tiff:
        names = {tag.name for tag in tiff.pages.first.tags}
    assert {"ExposureTime", "BaselineExposure", "DateTime", "Software"}.isdisjoint(names)
    assert write(tmp_path / "b.dng", values()).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("raw.dng-balance", {"balance": np.array([0, 1, 1, 2])}),
        ("raw.dng-levels", {"black": np.array([-1, 2, 3, 4])}),
        ("raw.dng-levels", {"black": np.array([1, 2, 3, 16383])}),
        ("raw.dng-levels", {"white": np.full(4, 70000)}),
    ],
)
def test_refuses_settings(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    with refused(code, tmp_path / "a.dng"):
        write(tmp_path / "a.dng", values(), **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mosaic", [values(21, 40), values().astype(np.float32), values()[..., None]])
def test_refuses_arrays(tmp_path: Path, mosaic: np.ndarray) -> None:
    with refused("raw.dng-array", tmp_path / "a.dng", wanted="uint16 mosaic", side=22):
        write(tmp_path / "a.dng", mosaic)
    with refused("files.cannot-write", tmp_path / "missing" / "a.dng"):
        write(tmp_path / "missing" / "a.dng", values())


EXIF, GPS = 34665, 34853


def exif(make: str = "Acme", model: str = "Acme X 1") -> Directory:
    photo = {33434: rationals(RATIONAL, 1 / 250), 34855: numbers(SHORT, 400)}
    photo |= {36864: Field(UNDEFINED, b"0232"), 42036: text("35 mm")}
    return {271: text(make), 272: text(model), 305: text("a program"), EXIF: photo, GPS: {1: text("N")}}


def developed(path: Path, **changes: Any) -> np.ndarray:
    """Develop a DNG to sRGB as a RAW reader does, in [0, 1]."""
    settings: dict[str, Any] = {"use_camera_wb": True, "no_auto_bright": True, "adjust_maximum_thr": 0}
    with rawpy.imread(str(path)) as raw:
        return raw.postprocess(output_bps=16, gamma=(2.4, 12.92), **(settings | changes)) / 65535


def test_a_mosaic_keeps_exif(tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    raw = read_raw(write(path, values(), camera="Acme X", exposure_time=0.5))
    write_dng(path, raw, exif(model="X 1"))
    back = read_raw(path)
    assert back.exposure_time == pytest.approx(0.5)  # the mosaic's own goes before EXIF's
    assert back.camera == "Acme X 1"  # EXIF's goes before that of the mosaic
    np.testing.assert_array_equal(back.mosaic, raw.mosaic)
    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages.first.tags
        exposure = {"ExposureTime": (1, 2), "ISOSpeedRatings": 400, "ExifVersion": "0232", "LensModel": "35 mm"}
        assert tags.valueof(EXIF) == exposure
        assert tags.valueof(GPS) == {"GPSLatitudeRef": "N"}
        assert tags.valueof(305) == "a program"
    with rawpy.imread(str(path)) as opened:
        assert opened.other.iso_speed == 400
        assert opened.other.shutter_speed == pytest.approx(0.5)
        assert opened.lens.model == "35 mm"


COLOURS = [(1, 1, 1), (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0.5, 0.5, 0.5), (0.9, 0.2, 0.4), (0.02, 0.03, 0.01)]


@pytest.mark.parametrize("colour", COLOURS)
def test_a_linear_dng_has_the_colours_of_the_picture(tmp_path: Path, colour: tuple[float, ...]) -> None:
    picture = np.broadcast_to(colour, (24, 30, 3))
    write_linear_dng(tmp_path / "a.dng", linear_from_srgb(picture))
    np.testing.assert_allclose(developed(tmp_path / "a.dng"), picture, atol=1.5e-3)


@pytest.mark.parametrize("size", [(22, 22), (23, 22), (40, 51), (33, 67), (201, 90)])
def test_a_linear_dng_has_every_pixel_in_its_place(tmp_path: Path, size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).random((*size, 3))
    write_linear_dng(tmp_path / "a.dng", linear_from_srgb(picture))
    there = developed(tmp_path / "a.dng")
    assert there.shape == picture.shape
    assert np.abs(there - picture).mean() < 2e-4
    assert np.abs(there - picture).max() < 2e-3
    levels = tifffile.imread(tmp_path / "a.dng")
    np.testing.assert_array_equal(levels, np.rint(linear_from_srgb(picture) * 65535))


# Cameras that LibRaw has colour matrices or rules of its own for; the file's own colours have to hold.
CAMERAS = {"Canon": "Canon EOS 6D", "NIKON CORPORATION": "NIKON D810", "SONY": "ILCE-7RM3", "FUJIFILM": "X-T2"}
CAMERAS |= {"OLYMPUS IMAGING CORP.": "E-M5", "Panasonic": "DMC-GH4", "Leica Camera AG": "M Monochrom"}
CAMERAS |= {"Apple": "iPhone 12 Pro", "Phase One": "IQ180"}


@pytest.mark.parametrize(("make", "model"), CAMERAS.items())
def test_the_camera_in_exif_does_not_change_the_colours(tmp_path: Path, make: str, model: str) -> None:
    picture = np.random.default_rng(1).random((30, 40, 3))
    write_linear_dng(tmp_path / "a.dng", linear_from_srgb(picture), exif=exif(make, model))
    assert np.abs(developed(tmp_path / "a.dng") - picture).mean() < 2e-4
    with tifffile.TiffFile(tmp_path / "a.dng") as tiff:
        tags = tiff.pages.first.tags
        assert (tags.valueof(271), tags.valueof(272)) == (make, model)
        assert model not in tags.valueof(50708)  # UniqueCameraModel, by which readers choose colours
        assert tags.valueof(EXIF)["LensModel"] == "35 mm"
        assert tags.valueof(50940) == (0, 0, 1, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_linear_dng_is_turned_by_its_readers(tmp_path: Path, orientation: int) -> None:
    picture = np.random.default_rng(2).random((24, 40, 3))
    write_linear_dng(tmp_path / "a.dng", linear_from_srgb(picture), orientation=orientation)
    expected = orient(picture, orientation)
    there = developed(tmp_path / "a.dng")
    assert there.shape == expected.shape
    assert np.abs(there - expected).mean() < 2e-4


def test_linear_light_is_that_of_the_standard_and_clipped() -> None:
    """IEC 61966-2-1: values computed by hand at the kink, in the middle and at the ends."""
    there = linear_from_srgb(np.array([0, 0.04045, 0.5, 1]))
    np.testing.assert_allclose(there, [0, 0.0031308, 0.2140411, 1], atol=1e-6)
    assert linear_from_srgb(np.float32([0.5])).dtype == np.float32
    picture = np.random.default_rng(3).normal(0.5, 1, (22, 22, 3))
    assert encode_linear_dng(picture, exif=exif()) == encode_linear_dng(np.clip(picture, 0, 1), exif=exif())


@pytest.mark.parametrize("shape", [(21, 40, 3), (40, 21, 3), (40, 40), (40, 40, 4)])
def test_refuses_pictures(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with refused("raw.dng-array", tmp_path / "a.dng", found=f"float64 {shape}"):
        write_linear_dng(tmp_path / "a.dng", np.zeros(shape))
    with refused("photo.not-finite", tmp_path / "a.dng"):
        write_linear_dng(tmp_path / "a.dng", np.full((22, 22, 3), np.nan))
    assert list(tmp_path.iterdir()) == []


def test_a_linear_dng_cannot_be_read_back(tmp_path: Path) -> None:
    write_linear_dng(tmp_path / "a.dng", np.zeros((30, 40, 3)))
    for code, read in (("raw.unknown-layout", read_raw), ("photo.is-dng", read_picture)):
        with refused(code, tmp_path / "a.dng"):
            read(tmp_path / "a.dng")


def test_unequal_greens_become_their_mean(tmp_path: Path) -> None:
    raw = read_raw(write(tmp_path / "a.dng", values(), balance=np.array([2.1, 1.0, 1.1, 1.68])))
    np.testing.assert_allclose(raw.balance, [2, 1, 1, 1.6], rtol=1e-5)
