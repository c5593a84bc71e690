"""When memory or the system refuses, the file isn't at fault, and training must not leave it out."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rawpy
import tifffile
from PIL import Image

from restore_hub.errors import DataError, UnreadableFileError
from restore_hub.photo.kind import Kind, kind_of
from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.pictures import read_picture
from restore_hub.photo.raw.reader import read_raw, render_raw
from support import refused
from support.raw_files import make_dng, make_mosaic

SIDECAR = "cfa: rggb\nwhite: 4000\n"
LIBRAW = (rawpy.LibRawUnsufficientMemoryError(b"Unsufficient memory"), "photo.no-memory", {})
FAULTS = [
    (MemoryError(), "photo.no-memory", {}),
    (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "photo.cannot-open", {"cause": "Too many open files"}),
    (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), "photo.cannot-open", {"cause": "Permission denied"}),
]


def a_picture(path: Path) -> Path:
    write_picture(path, np.full((24, 24, 3), 0.5), 16 if path.suffix == ".tif" else 8)
    return path


def failing(monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str], error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(*place, fail)


READERS = [
    ("a.dng", make_dng, read_raw, (rawpy, "imread")),
    ("a.dng", make_dng, render_raw, (rawpy, "imread")),
    ("a.npy", make_mosaic, read_raw, (np, "load")),
    ("a.raw", make_mosaic, read_raw, (np, "fromfile")),
    ("a.png", make_mosaic, read_raw, (Image, "open")),
    ("a.tif", make_mosaic, read_raw, (tifffile, "TiffFile")),
    ("a.png", a_picture, read_picture, (Image, "open")),
    ("a.jpg", a_picture, read_picture, (Image, "open")),
    ("a.tif", a_picture, read_picture, (tifffile, "TiffFile")),
]


@pytest.mark.parametrize(
    ("name", "make", "read", "place", "fault"),
    [*((*reader, fault) for reader in READERS for fault in FAULTS), (*READERS[0], LIBRAW)],
)
def test_lacking_memory_or_rights_is_not_the_files_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, make: Any, read: Any, place: Any, fault: Any
) -> None:
    error, code, facts = fault
    path = make(tmp_path / name)
    read(path)
    failing(monkeypatch, place, error)
    with refused(code, path, DataError, **facts) as caught:
        read(path)
    assert not isinstance(caught.value, UnreadableFileError)


@pytest.mark.parametrize(("make", "name"), [(make_dng, "a.dng"), (make_mosaic, "a.npy"), (a_picture, "a.png")])
def test_a_locked_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path], name: str
) -> None:
    path, plain = make(tmp_path / name), Path.is_file

    def is_file(self: Path) -> bool:
        if self == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return plain(self)

    monkeypatch.setattr(Path, "is_file", is_file)
    with refused("photo.cannot-open", path, cause="Permission denied") as caught:
        (read_picture if make is a_picture else read_raw)(path)
    assert not isinstance(caught.value, UnreadableFileError)


@pytest.mark.parametrize("error", [OSError("image file is truncated"), OSError(errno.EINVAL, "Invalid argument")])
def test_damage_that_looks_like_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    """Pillow gives no number; seeking to a place that no file has is EINVAL."""
    picture, mosaic = a_picture(tmp_path / "a.png"), make_mosaic(tmp_path / "b.png")
    failing(monkeypatch, (Image, "open"), error)
    for read, path in ((read_picture, picture), (read_raw, mosaic)):
        with pytest.raises(UnreadableFileError):
            read(path)


def test_names_too_long_for_a_file(tmp_path: Path) -> None:
    longest = a_picture(tmp_path / f"{'x' * 248}.png")  # its sidecar's name would be too long
    assert read_picture(longest).pixels.shape == (24, 24, 3)
    assert kind_of(longest) is Kind.PICTURE
    with refused("raw.no-sidecar", longest):
        read_raw(longest)
    for suffix in ("png", "dng", "npy"):
        for read in (read_picture, read_raw):
            with refused("photo.cannot-open", cause="File name too long"):
                read(tmp_path / f"{'x' * 300}.{suffix}")
    (tmp_path / "mosaic.yaml").write_text(SIDECAR)
    with refused("photo.cannot-open", cause="File name too long"):
        read_raw(tmp_path / f"{'x' * 300}.npy")
