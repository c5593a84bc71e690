from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from restore_hub.errors import UnreadableFileError
from restore_hub.files import write_file
from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.pictures import orient, read_picture
from restore_hub.photo.tiff import RATIONAL, UNDEFINED, Directory, Field, rationals, text
from support import refused
from support.raw_files import png


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


def levels16(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 65536, shape).astype(np.uint16)


def png16(samples: np.ndarray, colour_type: int, interlaced: bool = False) -> bytes:
    """Encode 16-bit samples (H, W, C) with filter 0, Adam7 if interlaced: an encoder that is not the tested one."""
    steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    passes = [samples[y::dy, x::dx] for y, x, dy, dx in steps] if interlaced else [samples]
    data = b"".join(b"\0" + row.astype(">u2").tobytes() for part in passes if part.size for row in part)
    return png(samples.shape[1], samples.shape[0], data, 16, colour_type, adam7=interlaced)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (13, 18)])
def test_what_is_written_reads_back(tmp_path: Path, suffix: str, bits: int, size: tuple[int, int]) -> None:
    picture = noise(*size, 3)
    write_picture(tmp_path / f"a{suffix}", picture, bits)
    back = read_picture(tmp_path / f"a{suffix}")
    top = 2**bits - 1
    assert back.bits == bits
    assert back.pixels.dtype == np.float32
    np.testing.assert_array_equal(np.rint(back.pixels.astype(np.float64) * top), np.rint(picture * top))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("bits", [8, 16])
def test_other_readers_agree(tmp_path: Path, suffix: str, bits: int) -> None:
    picture = noise(9, 11, 3)
    path = tmp_path / f"a{suffix}"
    write_picture(path, picture, bits)
    expected = np.rint(picture * (2**bits - 1))
    if suffix == ".tif":
        np.testing.assert_array_equal(tifffile.imread(path), expected)
    else:
        pillow = np.asarray(Image.open(path))  # at 16 bits Pillow keeps the upper byte
        np.testing.assert_array_equal(pillow, expected if bits == 8 else expected // 256)


def test_values_are_rounded_and_clipped_and_near_in_jpeg(tmp_path: Path) -> None:
    values = np.array([-0.2, 1.7, 0.5 / 255 - 1e-6, 0.5 / 255 + 1e-6])[None, :, None] * np.ones((1, 1, 3))
    write_picture(tmp_path / "a.png", values)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png"))[0, :, 0], [0, 255, 0, 1])
    ramp = np.linspace(0, 1, 64)[:, None, None] * np.ones((1, 48, 3))
    write_picture(tmp_path / "a.jpg", ramp)
    assert np.abs(read_picture(tmp_path / "a.jpg").pixels - ramp).max() < 0.02


@pytest.mark.parametrize(("channels", "colour_type"), [(3, 2), (4, 6)])
@pytest.mark.parametrize("interlaced", [False, True])
def test_png_of_16_bits_from_elsewhere(tmp_path: Path, channels: int, colour_type: int, interlaced: bool) -> None:
    samples = levels16(11, 13, channels)
    (tmp_path / "a.png").write_bytes(png16(samples, colour_type, interlaced))
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(np.rint(picture.pixels * 65535.0), samples[..., :3])
    assert picture.bits == 16
    assert picture.notes == (("alpha dropped",) if channels == 4 else ())


def test_grey_of_16_bits(tmp_path: Path) -> None:
    samples = levels16(6, 5)
    (tmp_path / "a.png").write_bytes(png16(samples[..., None], 0))
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="minisblack")
    tifffile.imwrite(tmp_path / "b.tif", 65535 - samples, photometric="miniswhite")
    for name in ("a.png", "a.tif", "b.tif"):
        pixels = read_picture(tmp_path / name).pixels
        for channel in range(3):
            np.testing.assert_array_equal(np.rint(pixels[..., channel] * 65535.0), samples)


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "LA", "CMYK"])
def test_pillow_modes_become_three_channels(tmp_path: Path, mode: str) -> None:
    rgb = Image.fromarray((noise(7, 9, 3) * 255).astype(np.uint8))
    stored = rgb.convert("RGBA" if mode == "LA" else mode).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    stored.save(path)
    picture = read_picture(path)
    np.testing.assert_array_equal(np.rint(picture.pixels * 255), np.asarray(stored.convert("RGB")))
    assert ("alpha dropped" in picture.notes) == (mode in ("RGBA", "LA"))
    assert any("CMYK" in note for note in picture.notes) == (mode == "CMYK")


@pytest.mark.parametrize(
    ("channels", "options"),
    [
        (3, {"planarconfig": "separate"}),
        (4, {"extrasamples": ["unassalpha"]}),
        (3, {"byteorder": ">"}),
        (3, {"compression": "zlib", "predictor": True}),
    ],
)
def test_tiff_layouts_of_16_bits(tmp_path: Path, channels: int, options: dict[str, object]) -> None:
    samples = levels16(8, 6, channels)
    stored = np.moveaxis(samples, -1, 0) if "planarconfig" in options else samples
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", **options)
    picture = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(np.rint(picture.pixels * 65535.0), samples[..., :3])
    assert picture.notes == (("alpha dropped",) if channels == 4 else ())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(tmp_path: Path, orientation: int) -> None:
    stored = (noise(4, 6, 3) * 255).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(stored).save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    Image.fromarray(stored).save(tmp_path / "a.tif", tiffinfo={274: orientation})
    tag = [(274, 3, 1, orientation, True)]
    tifffile.imwrite(tmp_path / "b.tif", stored.astype(np.uint16) * 257, photometric="rgb", extratags=tag)
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(orient(stored, orientation), expected)
    for name in ("a.png", "a.tif", "b.tif"):
        np.testing.assert_array_equal(np.rint(read_picture(tmp_path / name).pixels * 255), expected)
    jpeg = read_picture(tmp_path / "a.jpg").pixels
    assert jpeg.shape == expected.shape
    assert np.abs(jpeg * 255 - expected).max() < 16


def test_orientation_turns_like_the_exif_standard() -> None:
    # EXIF 2.3: the value says where the stored row 0 and column 0 lie when looked at, e.g. 6 is "right, top".
    stored = np.array([[1, 2, 3], [4, 5, 6]])
    turned = {6: [[4, 1], [5, 2], [6, 3]], 8: [[3, 6], [2, 5], [1, 4]], 3: [[6, 5, 4], [3, 2, 1]], 0: stored.tolist()}
    assert {value: orient(stored, value).tolist() for value in turned} == turned


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "16.png", "16.tif"])
def test_icc_profile_travels(tmp_path: Path, name: str) -> None:
    for profile in (ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), None):
        write_picture(tmp_path / name, noise(5, 5, 3), 16 if name.startswith("16") else 8, icc=profile)
        assert read_picture(tmp_path / name).icc == profile


def facts() -> Directory:
    photo = {33434: rationals(RATIONAL, 1 / 250), 36864: Field(UNDEFINED, b"0232"), 42036: text("35 mm")}
    place = {1: text("N"), 2: rationals(RATIONAL, [48, 8, 13.5])}
    return {271: text("Acme"), 315: text("Ann"), 34665: photo, 34853: place}


EVERY_FORMAT = [("a.png", 8), ("a.png", 16), ("a.tif", 8), ("a.tiff", 16), ("a.jpg", 8), ("a.jpeg", 8)]


@pytest.mark.parametrize(("name", "bits"), EVERY_FORMAT)
def test_exif_travels(tmp_path: Path, name: str, bits: int) -> None:
    path, profile = tmp_path / name, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    write_picture(path, noise(30, 40, 3), bits, profile, facts())
    back = read_picture(path)
    assert back.exif == facts()
    assert back.icc == profile
    assert back.notes == ()
    with Image.open(path) as image:
        image.load()
        exif = image.getexif()
        assert exif[315] == "Ann"
        assert 274 not in exif
        assert exif.get_ifd(34665) == {33434: 1 / 250, 36864: b"0232", 42036: "35 mm"}
        assert exif.get_ifd(34853) == {1: "N", 2: (48, 8, 13.5)}
    if "tif" in name:
        with tifffile.TiffFile(path) as file:
            exposure = {"ExposureTime": (1, 250), "ExifVersion": "0232", "LensModel": "35 mm"}
            assert file.pages.first.tags.valueof(34665) == exposure
            assert file.pages.first.tags.valueof(34853)["GPSLatitude"] == (48, 1, 8, 1, 27, 2)
    before = path.read_bytes()
    write_picture(path, noise(30, 40, 3), bits, profile, facts())
    assert path.read_bytes() == before
    write_picture(path, noise(30, 40, 3), bits)
    assert read_picture(path).exif == {}


def test_exif_behind_the_pixels_of_a_png_is_found(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", noise(30, 40, 3), exif=facts())
    data = (tmp_path / "a.png").read_bytes()
    start = data.index(b"eXIf") - 4
    end = start + 12 + struct.unpack_from(">I", data, start)[0]
    (tmp_path / "a.png").write_bytes(data[:start] + data[end:-12] + data[start:end] + data[-12:])
    assert read_picture(tmp_path / "a.png").exif == facts()


def test_an_orientation_that_is_no_number_is_none(tmp_path: Path) -> None:
    tag = [(274, 3, 40, (6,) * 40, True)]
    tifffile.imwrite(tmp_path / "a.tif", levels16(4, 6, 3), photometric="rgb", extratags=tag)
    assert read_picture(tmp_path / "a.tif").pixels.shape == (4, 6, 3)


@pytest.mark.parametrize(
    ("name", "bits", "array", "code"),
    [
        ("a.bmp", 8, np.zeros((2, 2, 3)), "photo.unknown-suffix"),
        ("a", 8, np.zeros((2, 2, 3)), "photo.unknown-suffix"),
        ("a.jpg", 16, np.zeros((2, 2, 3)), "photo.bits"),
        ("a.png", 12, np.zeros((2, 2, 3)), "photo.bits"),
        ("a.png", 8, np.zeros((2, 2)), "photo.bad-shape"),
        ("a.png", 8, np.zeros((0, 2, 3)), "photo.bad-shape"),
        ("a.png", 8, np.full((2, 2, 3), np.nan), "photo.not-finite"),
        ("missing/a.png", 8, np.zeros((2, 2, 3)), "files.cannot-write"),
    ],
)
def test_writing_refuses(tmp_path: Path, name: str, bits: int, array: np.ndarray, code: str) -> None:
    with refused(code, tmp_path / name):
        write_picture(tmp_path / name, array, bits)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_older_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with refused("files.cannot-write", tmp_path / "folder"):
        write_file(tmp_path / "folder", b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    write_file(tmp_path / "file", b"old")
    write_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_reading_refuses_and_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello world")
    tifffile.imwrite(tmp_path / "float.tif", noise(4, 4, 3).astype(np.float32), photometric="rgb")
    Image.fromarray(noise(4, 4).astype(np.float32)).save(tmp_path / "f.tif")
    Image.new("RGB", (3, 3)).save(tmp_path / "a.bmp")
    codes = {"text.png": "photo.other-format", "a.bmp": "photo.other-format", "missing.png": "photo.missing"}
    codes |= {"float.tif": "photo.samples", "f.tif": "photo.samples", "empty.png": "photo.empty"}
    for name, code in {**codes, ".": "photo.is-folder"}.items():
        with refused(code, tmp_path / name) as caught:
            read_picture(tmp_path / name)
        assert isinstance(caught.value, UnreadableFileError) == (code in ("photo.empty", "photo.other-format"))


def test_the_thumbnail_of_a_raw_file_is_not_taken_for_the_picture(tmp_path: Path) -> None:
    """A DNG's first page is often a small picture of 8 bits; a plain TIFF by another suffix is read."""
    pixels = np.full((30, 40, 3), 90, np.uint8)
    for name, tags in (("raw.png", [(50706, 1, 4, bytes((1, 4, 0, 0)), True)]), ("plain.png", [])):
        tifffile.imwrite(tmp_path / name, pixels, photometric="rgb", metadata=None, extratags=tags)
    assert read_picture(tmp_path / "plain.png").pixels.shape == (30, 40, 3)
    with refused("photo.is-dng", tmp_path / "raw.png"):
        read_picture(tmp_path / "raw.png")
