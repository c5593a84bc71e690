"""Finds the photographs in a folder that a model takes, and names their results."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from restore_hub.errors import DataError, reason_of
from restore_hub.photo.kind import Kind, kind_of


def find_photos(folder: Path, out: Path, *, raw: bool) -> list[Path]:
    """Return the photographs in a folder and its sub-folders, relative to it and in order.

    Names that begin with a dot, links to folders, and `out` if it lies inside are left out.

    Args:
        folder: where to look.
        out: folder of the results, which are not to be restored again.
        raw: look for RAW files and for mosaics with a sidecar; else for PNG, TIFF and JPEG without one.

    Raises:
        DataError: no such folder, one that can't be read, one without photographs, or one inside `out`.
    """
    if folder.is_file():
        raise DataError("restore.not-a-folder", folder)
    if not folder.is_dir():
        raise DataError("restore.no-such-folder", folder)
    if folder.resolve().is_relative_to(out.resolve()):
        raise DataError("restore.output-holds-photographs", out)
    wanted = (Kind.RAW, Kind.MOSAIC) if raw else (Kind.PICTURE,)
    found = sorted(path.relative_to(folder) for path in _files(folder, out.resolve()) if kind_of(path) in wanted)
    if not found:
        raise DataError("restore.no-photographs", folder, kind="RAW files" if raw else "PNG, TIFF or JPEG files")
    return found


def result_names(photos: Iterable[Path], suffix: str) -> dict[Path, Path]:
    """Return the name of each photograph's result: its own, with another suffix.

    Raises:
        DataError: two photographs would have the same, ignoring case as many disks do.
    """
    names: dict[Path, Path] = {}
    owners: dict[str, Path] = {}
    for photo in photos:
        names[photo] = photo.with_suffix(suffix)
        other = owners.setdefault(str(names[photo]).casefold(), photo)
        if other != photo:
            raise DataError("restore.same-result", photo, other=other, result=names[photo])
    return names


def _files(folder: Path, out: Path) -> Iterator[Path]:
    """Yield the files below a folder, without devices and pipes."""
    for path, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if name[0] != "." and Path(path, name).resolve() != out]
        found = (Path(path, name) for name in files if name[0] != ".")
        yield from (path for path in found if path.is_file() or not path.exists())  # a broken link fails by name


def _refuse(error: OSError) -> NoReturn:
    raise DataError("restore.unreadable-folder", error.filename, cause=reason_of(error)) from error
