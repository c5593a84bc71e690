"""Which photographs of a folder a model takes, and what their results are called."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from restore_hub.errors import DataError
from restore_hub.photo.kind import Kind, kind_of


def find_photos(folder: Path, out: Path, *, raw: bool) -> list[Path]:
    """Return the photographs in a folder and in its sub-folders, relative to it and in order.

    Names that begin with a dot are left out, so are links to folders, and `out` where it lies inside.

    Args:
        folder: where to look.
        out: folder of the results; what is in it are no photographs to restore.
        raw: look for RAW files and mosaics with a sidecar; else for PNG, TIFF and JPEG without one.

    Raises:
        DataError: no such folder, one that cannot be read, one without photographs, or one that lies in `out`.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: {'is a file, not a folder' if folder.is_file() else 'no such folder'}")
    if folder.resolve().is_relative_to(out.resolve()):
        raise DataError(f"{out} holds the photographs themselves; write the results to another folder")
    wanted = (Kind.RAW, Kind.MOSAIC) if raw else (Kind.PICTURE,)
    found = sorted(path.relative_to(folder) for path in _files(folder, out.resolve()) if kind_of(path) in wanted)
    if not found:
        kind = "RAW file" if raw else "PNG, TIFF or JPEG"
        raise DataError(f"{folder} has no {kind} in it, which is what the model takes")
    return found


def result_names(photos: Iterable[Path], suffix: str) -> dict[Path, Path]:
    """Return the name of each photograph's result: its own, with another suffix.

    Raises:
        DataError: two photographs would have the same, letters in upper and lower case being equal, as they are on
            many disks.
    """
    names: dict[Path, Path] = {}
    owners: dict[str, Path] = {}
    for photo in photos:
        names[photo] = photo.with_suffix(suffix)
        other = owners.setdefault(str(names[photo]).casefold(), photo)
        if other != photo:
            raise DataError(
                f"{other} and {photo} would both become {names[photo]}; rename one of them, or move it to a folder "
                "of its own"
            )
    return names


def _files(folder: Path, out: Path) -> Iterator[Path]:
    """Yield the files below a folder; devices and pipes are none."""
    for path, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if name[0] != "." and Path(path, name).resolve() != out]
        found = (Path(path, name) for name in files if name[0] != ".")
        yield from (path for path in found if path.is_file() or not path.exists())  # a broken link fails by name


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error
