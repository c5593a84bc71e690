"""Odd and hostile pictures: the right values, or one clear error before memory is taken."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from restore_hub.errors import DataError, UnreadableFileError
from restore_hub.photo import guards
from restore_hub.photo.icc import srgb_profile
from restore_hub.photo.pictures import Picture, read_picture
from restore_hub.photo.raw.reader import read_raw
from support import refused
from support.raw_files import png

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (16, 24, 3)).astype(np.uint8)
DEEP = RNG.integers(0, 65536, (16, 24, 3)).astype(np.uint16)


def jpeg(width: int, height: int) -> bytes:
    """Return a JPEG whose header says another size than it has."""
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def tiff(samples: np.ndarray, changes: dict[int, Any] | None = None, **options: Any) -> bytes:
    """Return a TIFF with single tags changed: to another value, to (kind, count), or the first of its values to 0."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **{"photometric": "rgb", "metadata": None} | options)
    data = bytearray(buffer.getvalue())
    if changes is None:
        return bytes(data)
    (start,) = struct.unpack_from("<I", data, 4)
    for place in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
        code, kind, _, value = struct.unpack_from("<HHII", data, place)
        change = changes.get(code)
        if change == "first to 0":
            struct.pack_into("<H" if kind == 3 else "<I", data, value, 0)
        elif isinstance(change, tuple):
            struct.pack_into("<I", data, place + 4, change[1])
        elif change is not None:
            struct.pack_into("<HII", data, place + 2, 4, 1, change)
    return bytes(data)


def lzw(samples: np.ndarray) -> bytes:
    """Return a TIFF compressed by LZW (TIFF 6.0, section 13): nine bits a code, cleared before they need ten."""
    codes = [code for i, byte in enumerate(samples.tobytes()) for code in ([256, byte] if i % 200 == 0 else [byte])]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    packed = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8))
    plain = tiff(samples)
    return tiff(samples, {259: 5, 273: len(plain), 279: len(packed)}) + packed


def saved(picture: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def quietly(path: Path) -> Picture:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_picture(path)


PHOTO = Image.fromarray(PIXELS)
FEW = PHOTO.quantize(16)
GREY = np.repeat(np.array([[0, 1, 2, 3], [3, 2, 1, 0]])[..., None] / 3, 3, axis=2)
ODD: dict[str, tuple[bytes, np.ndarray]] = {
    "lzw of 16 bits": (lzw(DEEP), DEEP / 65535),
    "bigtiff of 16 bits": (tiff(DEEP, bigtiff=True), DEEP / 65535),
    "bigtiff of 8 bits, big-endian": (tiff(PIXELS, bigtiff=True, byteorder=">"), PIXELS / 255),
    "tiles of 8 bits": (tiff(PIXELS, tile=(16, 16)), PIXELS / 255),
    "tiles of 16 bits": (tiff(DEEP, tile=(16, 16), compression="zlib"), DEEP / 65535),
    "planes of 8 bits": (tiff(np.moveaxis(PIXELS, -1, 0), planarconfig="separate"), PIXELS / 255),
    "several pages": (saved(PHOTO, "TIFF", save_all=True, append_images=[Image.new("RGB", (5, 5))]), PIXELS / 255),
    "an animation": (saved(PHOTO, "PNG", save_all=True, append_images=[Image.new("RGB", (24, 16))]), PIXELS / 255),
    "a palette with transparency": (saved(FEW, "PNG", transparency=3), np.asarray(FEW.convert("RGB")) / 255),
    "grey of 2 bits": (png(4, 2, b"\0\x1b\0\xe4", 2, 0), GREY),
    "bytes behind the end": (saved(PHOTO, "PNG") + b"x" * 999, PIXELS / 255),
}


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "-a \n ü.tif", os.fsdecode(b"\xff.jpeg")])
def test_the_content_counts_whatever_its_layout_and_name(tmp_path: Path, what: str, name: str) -> None:
    data, expected = ODD[what]
    (tmp_path / name).write_bytes(data)
    picture = quietly(tmp_path / name)
    np.testing.assert_allclose(picture.pixels, expected, atol=1e-6)
    noted = "the first of several pictures in the file" in picture.notes
    assert noted == (what in ("several pages", "an animation"))


def test_a_smaller_copy_of_a_picture_is_no_other_picture(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(PIXELS)
        writer.write(PIXELS[::2, ::2], subfiletype=1)
    assert read_picture(tmp_path / "a.tif").notes == ()


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG"])
def test_a_profile_of_grey_is_left_out_with_a_note(tmp_path: Path, format: str) -> None:
    grey = bytearray(srgb_profile())
    grey[16:20] = b"GRAY"  # ICC.1, section 7.2: the space of the data
    image = Image.fromarray(PIXELS[..., 0])
    (tmp_path / "a.png").write_bytes(saved(image, format, icc_profile=bytes(grey)))
    picture = read_picture(tmp_path / "a.png")
    assert picture.icc is None
    assert [note.partition(":")[0] for note in picture.notes] == ["profile left out, since the result is RGB"]


def test_lab_has_no_alpha_and_ycck_is_noted(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(saved(Image.fromarray(PIXELS).convert("LAB"), "TIFF"))
    assert read_picture(tmp_path / "a.tif").notes == ()
    cmyk = saved(Image.fromarray(PIXELS).convert("CMYK"), "JPEG")
    (tmp_path / "a.jpg").write_bytes(cmyk.replace(b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\2"))
    assert read_picture(tmp_path / "a.jpg").notes == ("CMYK converted without colour management",)


HELD, LARGE, PARTS, SAMPLES = "photo.header-lies", "photo.too-large", "photo.parts-missing", "photo.samples"
HUGE = zlib.compress(bytes(4 * 10**8), 1)
REFUSED: dict[str, tuple[bytes, str]] = {
    "PNG of 60000 x 60000": (png(60000, 60000, bytes(999)), LARGE),
    "PNG of 13000 x 13000": (png(13000, 13000, bytes(999)), HELD),
    "PNG of 9000 x 9000 and 16 bits": (png(9000, 9000, bytes(999), 16), HELD),
    "JPEG of 65000 x 65000": (jpeg(65000, 65000), LARGE),
    "JPEG of 13000 x 13000": (jpeg(13000, 13000), HELD),
    "TIFF of 8 bits": (tiff(PIXELS, {256: 60000, 257: 60000}), HELD),
    "TIFF of 16 bits": (tiff(DEEP, {256: 60000, 257: 60000}), HELD),
    "TIFF of 16 bits, deflated": (tiff(DEEP, {256: 60000, 257: 60000}, compression="zlib"), HELD),
    "TIFF of 16 bits, in tiles": (tiff(DEEP, {256: 60000, 257: 60000}, tile=(16, 16), compression="zlib"), HELD),
    "TIFF of 16 bits, LZMA": (tiff(DEEP, {256: 60000, 257: 60000}, compression="lzma"), LARGE),
    "fewer counts than strips": (tiff(DEEP, {279: (4, 2)}, rowsperstrip=4), PARTS),
    "fewer offsets than strips": (tiff(DEEP, {273: (4, 2)}, rowsperstrip=4, compression="zlib"), PARTS),
    "a strip of no bytes": (tiff(DEEP, {279: "first to 0"}, rowsperstrip=4), PARTS),
    "a strip nowhere": (tiff(DEEP, {273: "first to 0"}, rowsperstrip=4), PARTS),
    "layers of 16 bits": (tiff(DEEP, volumetric=True, photometric="minisblack", tile=(16, 16, 16)), SAMPLES),
    "signed bytes": (tiff(PIXELS.view(np.int8)), SAMPLES),
    "half floats": (tiff(np.zeros((4, 4, 3), np.float16)), SAMPLES),
    "CMYK of 16 bits": (tiff(np.zeros((4, 4, 4), np.uint16), photometric="separated"), SAMPLES),
    "GIF": (saved(PHOTO, "GIF"), "photo.other-format"),
    "WebP": (saved(PHOTO, "WEBP"), "photo.other-format"),
    "a profile of 400 MB": (png(1, 1, b"\0abc", 8, 2, (b"iCCP", b"x\0\0" + HUGE)), "photo.huge-text"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_lying_headers_are_refused_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], what: str
) -> None:
    data, code = REFUSED[what]
    path = tmp_path / "a.png"
    path.write_bytes(data)
    if code in (HELD, LARGE):
        for owner, name in ((tifffile.TiffPage, "asarray"), (Image.Image, "load")):
            monkeypatch.setattr(owner, name, never)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with refused(code, path, DataError):
            read_picture(path)
    assert capfd.readouterr() == ("", "")


def never(*_: object, **__: object) -> None:
    raise AssertionError("it was decoded")


WHOLE = {
    **{f"p.{suffix}": saved(PHOTO, form) for suffix, form in (("png", "PNG"), ("jpg", "JPEG"), ("tif", "TIFF"))},
    "lzw.tif": saved(PHOTO, "TIFF", compression="tiff_lzw"),
    "deep.png": png(24, 16, b"".join(b"\0" + row.astype(">u2").tobytes() for row in DEEP), 16),
    "deep.tif": tiff(DEEP),
    "deflated.tif": tiff(DEEP, compression="zlib"),
}


@pytest.mark.parametrize("tenth", range(10))
@pytest.mark.parametrize("name", WHOLE)
def test_cut_off_at_every_tenth(tmp_path: Path, name: str, tenth: int) -> None:
    data = WHOLE[name]
    (tmp_path / name).write_bytes(data[: len(data) * tenth // 10])
    with pytest.raises(UnreadableFileError) as caught:
        quietly(tmp_path / name)
    assert any(letter.isalpha() for letter in caught.value.facts.get("cause", "x"))


def test_a_picture_that_memory_does_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "available_memory", lambda: 20_000)
    for name, data in (("a.png", saved(PHOTO, "PNG")), ("a.tif", tiff(DEEP))):
        (tmp_path / name).write_bytes(data)
        with refused("photo.too-little-memory", tmp_path / name, width=24, height=16) as caught:
            read_picture(tmp_path / name)
        assert not isinstance(caught.value, UnreadableFileError)


@pytest.mark.parametrize(("make", "code"), [(os.mkdir, "photo.is-folder"), (os.mkfifo, "photo.no-ordinary-file")])
@pytest.mark.parametrize(
    ("name", "read"), [("a.png", read_picture), ("a.dng", read_raw), ("m.npy", read_raw), ("m.raw", read_raw)]
)
def test_folders_and_pipes(
    tmp_path: Path, name: str, read: Callable[[Path], Any], make: Callable[[Path], None], code: str
) -> None:
    (tmp_path / "m.npy.yaml").write_text("cfa: rggb\nwhite: 255\n")
    (tmp_path / "m.raw.yaml").write_text("cfa: rggb\nwhite: 255\nsize: 4x4\n")
    make(tmp_path / name)
    with refused(code, tmp_path / name):
        read(tmp_path / name)


@pytest.mark.parametrize(("colour", "mode"), [(0, "grey"), (2, "RGB"), (4, "grey with alpha"), (6, "RGBA")])
def test_one_pixel_of_16_bits(tmp_path: Path, colour: int, mode: str) -> None:
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    (tmp_path / "a.png").write_bytes(png(1, 1, b"\0" + b"\x80\x01" * channels, 16, colour))
    value = 0x80 / 255 if mode == "grey with alpha" else 0x8001 / 65535
    np.testing.assert_allclose(quietly(tmp_path / "a.png").pixels, np.full((1, 1, 3), value), atol=1e-6)
