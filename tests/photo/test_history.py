"""What was done to a photograph stands in the result's EXIF, where readers that wrote none of it find it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

import restore_hub
from restore_hub import load, restore
from restore_hub.photo.exif import read_exif, user_comment
from restore_hub.photo.history import with_record
from restore_hub.photo.pictures import read_picture
from restore_hub.photo.raw.dng_writer import write_dng
from restore_hub.photo.raw.reader import read_raw
from restore_hub.photo.tiff import SHORT, UNDEFINED, Directory, Field, encode_tiff, numbers, text
from support.models import Write

EXIF, COMMENT = 34665, 37510
TITLE = "the church of A"


def _seen(path: Path) -> Any:
    """Return the record of a result as Pillow finds it, or tifffile in a DNG."""
    if path.suffix == ".dng":
        with tifffile.TiffFile(path) as tiff:
            return json.loads(tiff.pages.first.tags.valueof(EXIF)["UserComment"])
    with Image.open(path) as image:
        assert image.getexif()[ExifTags.Base.ImageDescription] == TITLE
        data = image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert data[:8] == b"ASCII\0\0\0"
    return json.loads(data[8:])


def _jpeg(path: Path, comment: bytes | None = None, order: str = "<") -> Path:
    exif = Image.Exif()
    exif.endian = order
    exif[270] = TITLE
    if comment is not None:
        exif.get_ifd(EXIF)[COMMENT] = comment
    return _save(path, exif)


def _save(path: Path, exif: Image.Exif) -> Path:
    Image.fromarray(np.full((24, 24, 3), 90, np.uint8)).save(path, exif=exif)
    return path


@pytest.mark.parametrize("name", ["o.png", "o.tif", "o.jpg", "o.dng"])
def test_every_format_says_what_was_done(models: Path, tmp_path: Path, write_raw: Write, name: str) -> None:
    photo = tmp_path / "a.dng"
    write_dng(photo, read_raw(write_raw(photo)), {270: text(TITLE)})
    done = restore(models / "chain.onnx", photo, tmp_path / name, gain=7.25, balance=(3, 1, 1.7))
    sha256 = hashlib.sha256((models / "chain.onnx").read_bytes()).hexdigest()
    assert _seen(done.path) == done.record
    assert done.record == {
        "restore_hub": restore_hub.__version__,
        "model": {"name": "t/chain", "sha256": sha256},
        "gain": {"value": 7.25, "rule": "given"},
        "balance": {"factors": [3.0, 1.0, 1.0, 1.7], "source": "given"},
        "colour": "sRGB",
    }


def test_rules_are_as_they_are_printed(models: Path, tmp_path: Path, write_raw: Write) -> None:
    done = restore(models / "chain.onnx", write_raw(tmp_path / "a.dng", gain=8.0), tmp_path / "o.png")
    assert done.record["gain"] == {"value": 8.0, "rule": "stated in the file's metadata"}
    assert done.record["balance"] == {"factors": [2.0, 1.0, 1.0, 1.5], "source": "camera"}
    by_rule = restore(models / "chain.onnx", write_raw(tmp_path / "b.dng"), tmp_path / "p.png")
    gain = by_rule.record["gain"]
    assert by_rule.notes[0] == f"gain {gain['value']:.4g} ({gain['rule']})"
    assert "to 0.18" in gain["rule"]
    again = restore(models / "chain.onnx", tmp_path / "b.dng", tmp_path / "q.png", gain=gain["value"])
    np.testing.assert_array_equal(read_picture(by_rule.path).pixels, read_picture(again.path).pixels)


def test_a_picture_has_model_and_colours_only(models: Path, tmp_path: Path) -> None:
    model = load(models / "enhance.onnx")
    done = restore(model, _jpeg(tmp_path / "in.jpg"), tmp_path / "o.jpg")
    assert _seen(done.path) == done.record
    assert done.record.keys() == {"restore_hub", "model", "colour"}
    assert done.record["colour"] == "sRGB, as there's no profile"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("comment", [b"ASCII\0\0\0the bride's father  ", bytes(8) + b"the bride's father\0\0", None])
def test_the_comment_of_the_photographer_stays(models: Path, tmp_path: Path, comment: bytes | None, order: str) -> None:
    if comment is None:
        comment = b"UNICODE\0" + "the bride's father".encode("utf-16-le" if order == "<" else "utf-16-be")
    photo = _jpeg(tmp_path / "in.jpg", comment, order)
    done = restore(models / "enhance.onnx", photo, tmp_path / "o.png")
    assert _seen(done.path) == {**done.record, "comment": "the bride's father"}
    twice = restore(models / "enhance.onnx", done.path, tmp_path / "p.png")
    assert _seen(twice.path) == {**twice.record, "before": _seen(done.path)}


@pytest.mark.parametrize("comment", [b"ASCII\0\0\0" + b" " * 40, b"\0" * 264, b"short", b"ASCII\0\0\0"])
def test_an_empty_comment_is_none(models: Path, tmp_path: Path, comment: bytes) -> None:
    done = restore(models / "enhance.onnx", _jpeg(tmp_path / "in.jpg", comment), tmp_path / "o.png")
    assert _seen(done.path) == done.record


def test_comments_of_any_letters() -> None:
    def read(data: bytes, kind: int = UNDEFINED) -> str:
        return user_comment(read_exif(encode_tiff({EXIF: {COMMENT: Field(kind, data)}}))[0])

    assert read(b"JIS\0\0\0\0\0" + "教会".encode("iso2022_jp")) == "教会"
    assert read(b"UNICODE\0" + "\ufeff教会".encode("utf-16-le")) == "教会"
    assert read(b"ASCII\0\0\0" + "Käse".encode()) == "Käse"
    assert read(b"UNICODE\0abc") == "扡\ufffd"
    assert read(b"\1\0\2\0", SHORT) == ""
    assert user_comment({}) == ""
    assert user_comment({EXIF: {33434: numbers(SHORT, 1)}}) == ""


@pytest.mark.parametrize("comment", ["[" * 4000, '{"a": 1}', "{", "1"])
def test_a_comment_that_only_looks_like_a_record(comment: str) -> None:
    exif: Directory = {EXIF: {COMMENT: Field(UNDEFINED, b"ASCII\0\0\0" + comment.encode())}}
    full, notes = with_record(exif, {"restore_hub": "1"})
    assert notes == ()
    assert json.loads(user_comment(full)) == {"restore_hub": "1", "comment": comment}


def test_full_exif_keeps_what_it_has(models: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    for length, fits in ((65248, False), (64500, True)):
        exif[270] = "x" * length
        done = restore(models / "enhance.onnx", _save(tmp_path / "in.jpg", exif), tmp_path / f"{length}.jpg")
        assert ("EXIF is full: what was done is not written into it" in done.notes) != fits
        with Image.open(done.path) as image:
            found = image.getexif()
        assert found[270] == exif[270]
        assert (EXIF in found) == fits
    assert json.loads(found.get_ifd(EXIF)[COMMENT][8:]) == done.record
