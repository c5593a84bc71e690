from __future__ import annotations

import datetime
import io
import struct
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rawpy
import tifffile
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from restore_hub.photo.exif import exif_from_libraw, read_exif, with_exposure_time
from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.pictures import read_picture
from restore_hub.photo.raw.dng_tags import Tags, read_tags
from restore_hub.photo.raw.dng_writer import encode_linear_dng
from restore_hub.photo.raw.reader import read_raw
from restore_hub.photo.tiff import RATIONAL, SHORT, UNDEFINED, Directory, Field, encode_tiff, numbers, rationals, text
from support.real import DATA, real

EXIF, GPS = 34665, 34853
LOST = ("EXIF could not be read and is left out",)
MAIN = {270: "a church", 271: "Acme", 272: "Acme X1", 306: "2024:05:06 07:08:09", 315: "Ann", 33432: "(c) Ann"}
PHOTO = {33434: IFDRational(1, 250), 33437: IFDRational(28, 10), 34855: 400, 36864: b"0232", 36881: "+02:00"}
PHOTO |= {36867: "2024:05:06 07:08:09", 37380: IFDRational(-1, 3), 37386: IFDRational(35, 1), 37521: "042"}
PHOTO |= {42036: "Acme 35 mm f/2"}
PLACE = {1: "N", 2: (IFDRational(48), IFDRational(8), IFDRational(27, 2)), 3: "E", 4: (11.0, 34.0, 30.0), 5: b"\0"}
SECRET, THUMBNAIL = b"what the maker noted", b"\xff\xd8 a small picture \xff\xd9"


def block(order: str) -> bytes:
    """Return an EXIF block by Pillow, with a maker note, sizes, an orientation and, patched in, a thumbnail."""
    exif = Image.Exif()
    exif.endian = order
    exif.update(MAIN | {274: 6, 282: IFDRational(300), 40091: b"title"})
    exif.get_ifd(EXIF).update(PHOTO | {37500: SECRET, 40962: 640, 40961: 1, 37396: (1, 2), 40965: 1})
    exif.get_ifd(GPS).update(PLACE)
    data = bytearray(exif.tobytes())
    count, start = struct.unpack_from(order + "H", data, 14)[0], len(data) - 6
    struct.pack_into(order + "I", data, 16 + 12 * count, start)
    entries = ((259, 3, 1, 6), (513, 4, 1, start + 42), (514, 4, 1, len(THUMBNAIL)))
    data += struct.pack(order + "H", 3)
    for code, kind, length, value in entries:
        data += struct.pack(order + "HHI" + ("HH" if kind == 3 else "I"), code, kind, length, *([value, 0][: 5 - kind]))
    return bytes(data + bytes(4) + THUMBNAIL)


def pillow(data: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + data)
    return exif


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("prefix", [True, False])
def test_what_stays_true_is_kept_and_nothing_else(order: str, prefix: bool) -> None:
    source = block(order)
    given = pillow(source[6:])
    assert given[274] == 6
    assert given.get_ifd(EXIF)[40962] == 640
    assert given.get_ifd(ExifTags.IFD.IFD1)[514] == len(THUMBNAIL)
    kept, notes = read_exif(source if prefix else source[6:])
    data = encode_tiff(kept)
    assert read_exif(data) == read_exif(block("<")) == (kept, notes) == (kept, ())
    again = pillow(data)
    assert dict(again) == MAIN | {code: again[code] for code in (EXIF, GPS)}
    assert again.get_ifd(EXIF) == PHOTO
    assert again.get_ifd(GPS) == PLACE
    assert again.get_ifd(ExifTags.IFD.IFD1) == {}
    assert SECRET in source
    assert SECRET not in data
    assert THUMBNAIL not in data


def test_exposure_in_the_main_directory_is_found_and_the_exif_directory_goes_before(tmp_path: Path) -> None:
    path = tmp_path / "a.nef"

    def kept() -> Directory | None:
        return read_tags(path).exif

    path.write_bytes(encode_tiff({271: text("A"), 33434: rationals(RATIONAL, 0.5), 33437: rationals(RATIONAL, 4)}))
    version = {36864: Field(UNDEFINED, b"0232")}
    assert kept() == {271: text("A"), EXIF: {33434: rationals(RATIONAL, 0.5), 33437: rationals(RATIONAL, 4), **version}}
    path.write_bytes(encode_tiff({33434: rationals(RATIONAL, 0.5), EXIF: {33434: rationals(RATIONAL, 0.1)}}))
    assert kept() == {EXIF: {33434: rationals(RATIONAL, 0.1), **version}}
    for magic in (b"IIRO", b"IIRS", b"IIU\0"):  # makers' variants of TIFF
        path.write_bytes(magic + encode_tiff({271: text("OLYMPUS")})[4:])
        assert kept() == {271: text("OLYMPUS")}


def test_other_raw_files_give_what_libraw_knows(tmp_path: Path) -> None:
    (tmp_path / "a.cr3").write_bytes(b"\0\0\0\x18ftypcrx and more")
    assert read_tags(tmp_path / "a.cr3") == Tags()
    other = SimpleNamespace(
        shutter_speed=1 / 60, aperture=5.6, iso_speed=102400.0, focal_length=0.0, artist="Ann", timestamp=None
    )
    raw = SimpleNamespace(other=other, lens=SimpleNamespace(make="", model="35 mm"))
    for year, date in ((2024, {36867: "2024:05:06 07:08:09"}), (1970, {})):
        other.timestamp = datetime.datetime(year, 5, 6, 7, 8, 9)
        exif = pillow(encode_tiff(exif_from_libraw(raw)[0]))
        assert exif[315] == "Ann"
        facts = {36864: b"0232", 33434: IFDRational(1, 60), 33437: 5.6, 34855: 65535, 42036: "35 mm"}
        assert exif.get_ifd(EXIF) == facts | date
    for damaged in (float("nan"), float("inf"), -1.0):
        other.shutter_speed = damaged
        assert exif_from_libraw(raw) == ({}, LOST)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("size", [1, 7, 20, 100, 300])
def test_damaged_exif_is_left_out_with_a_note(tmp_path: Path, size: int, suffix: str) -> None:
    cut = block("<")[6 : 6 + size]
    assert read_exif(cut) == ({}, LOST)
    pixels = np.random.default_rng(0).random((24, 26, 3))
    Image.fromarray((pixels * 255).astype(np.uint8)).save(tmp_path / f"a.{suffix}", exif=b"Exif\0\0" + cut)
    picture = read_picture(tmp_path / f"a.{suffix}")
    assert picture.pixels.shape == ((26, 24, 3) if size == 300 else (24, 26, 3))  # 300 bytes still say orientation
    assert picture.exif == {}
    assert picture.notes == LOST
    (tmp_path / "a.nef").write_bytes(encode_tiff({271: text("A long name"), EXIF: numbers(SHORT, 9)})[:-4])
    tags = read_tags(tmp_path / "a.nef")
    assert (tags.exif, tags.lost) == ({}, LOST)


def test_the_largest_that_is_kept_fits_a_jpeg(tmp_path: Path) -> None:
    fits: Directory = {270: text("x" * 65200), 271: text("A")}
    kept, notes = read_exif(encode_tiff(fits))
    assert (kept, notes) == (fits, ())
    write_picture(tmp_path / "a.jpg", np.zeros((4, 4, 3)), exif={**kept, 305: text("a program 1.2.3")})
    assert read_picture(tmp_path / "a.jpg").exif == fits
    assert read_exif(encode_tiff({270: text("x" * 65200), 271: text("x" * 200)})) == ({}, LOST)


def test_mutated_exif_is_safe(tmp_path: Path) -> None:
    """Whatever is in it, the picture is read and written in every format, and the results can be opened."""
    rng, outcomes = np.random.default_rng(0), set()
    pixels = rng.random((24, 26, 3))
    for trial in range(120):
        blob = bytearray(block("<>"[trial % 2]))
        for place in rng.integers(6, len(blob) if trial % 3 else 120, 1 + trial % 8):
            blob[place] = rng.integers(256)
        Image.fromarray((pixels * 255).astype(np.uint8)).save(tmp_path / "in.jpg", exif=bytes(blob))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            picture = read_picture(tmp_path / "in.jpg")
        outcomes.add((bool(picture.exif), picture.notes))
        for name, bits in (("o.jpg", 8), ("o.png", 16), ("o8.tif", 8), ("o.tif", 16)):
            write_picture(tmp_path / name, picture.pixels, bits, exif=picture.exif)
            back = read_picture(tmp_path / name)
            assert back.pixels.shape == picture.pixels.shape
            assert back.exif == picture.exif
        dng = encode_linear_dng(picture.pixels, exif=picture.exif)
        with rawpy.imread(io.BytesIO(dng)) as raw:
            assert raw.raw_image_visible.shape[:2] == picture.pixels.shape[:2]
        assert tifffile.imread(io.BytesIO(dng)).shape == picture.pixels.shape
    # Without a note, nothing is found where a mutated pointer leads to what happens to be an empty directory.
    assert {(True, ()), (False, LOST)} <= outcomes <= {(True, ()), (False, LOST), (False, ())}


def test_another_exposure_time() -> None:
    kept, _ = read_exif(block("<"))
    other: Any = with_exposure_time(kept, 2.5)
    before: Any = kept[EXIF]
    assert other == {**kept, EXIF: {**before, 33434: rationals(RATIONAL, 2.5)}}
    assert with_exposure_time(kept, None) is kept
    assert with_exposure_time({}, 0.5)[EXIF] == {36864: Field(UNDEFINED, b"0232"), 33434: rationals(RATIONAL, 0.5)}


@real
def test_cameras() -> None:
    """A DNG by Adobe, an old Kodak in TIFF/EP, and one without any EXIF."""
    adobe = pillow(encode_tiff(read_tags(DATA / "raw/misc_dng_shared/canon_eos_6d.dng").exif or {}))
    assert adobe[272] == "Canon EOS 6D"
    assert adobe.get_ifd(EXIF)[42036] == "EF24-105mm f/4L IS USM"
    assert adobe.get_ifd(EXIF)[33434] == IFDRational(1, 60)
    kodak = pillow(encode_tiff(read_raw(DATA / "raw/kodak_dc50/DC0008L.KDC").exif))
    assert kodak[271] == "Eastman Kodak Company"
    assert kodak.get_ifd(EXIF)[33437] == 2.5
    assert read_raw(DATA / "raw/apple_quicktake_shared/QKTK/TEST100.QTK").exif == {}
