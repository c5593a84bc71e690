"""Folders of ordinary pictures as a data set: inputs with their references, or either alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restore_hub.contracts import Port
from restore_hub.errors import DataError
from restore_hub.photo.kind import Kind, kind_of
from restore_hub.photo.pictures import read_picture


class PictureFolders:
    """Pictures (3, H, W) in sRGB; those of the same name, whatever the suffix, are one sample.

    Sub-folders are included, and a picture's name begins with that of its sub-folder.

    Args:
        folders: by tensor.

    Raises:
        DataError: a folder that is missing or has no pictures, two pictures of one name, or a picture that lacks its
            partner. UnreadableFileError on use: a damaged picture.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.ports: Mapping[str, Port] = dict.fromkeys(folders, Port(3))
        found = {tensor: pictures_in(folder) for tensor, folder in folders.items()}
        for tensor, pictures in found.items():
            for other, theirs in found.items():
                _require(pictures, theirs, folders[tensor], folders[other])
        self._samples = [tuple(each[name] for each in found.values()) for name in next(iter(found.values()))]

    def __len__(self) -> int:
        return len(self._samples)

    def files(self, index: int) -> Sequence[Path]:
        """Return the pictures of a sample."""
        return self._samples[index]

    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, NDArray[np.float32]]:
        """Return the whole pictures of a sample."""
        del rng  # nothing is random
        return {tensor: read_planes(file) for tensor, file in zip(self.ports, self._samples[index], strict=True)}


def pictures_in(folder: Path) -> dict[str, Path]:
    """Return the pictures of a folder and its sub-folders in order, by their paths in it without suffix.

    Names that begin with a dot are left out.

    Raises:
        DataError: no such folder, no pictures in it, or two of the same name.
    """
    if not folder.is_dir():
        raise DataError("evaluate.no-folder", folder)
    found: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts) or file.is_dir() or kind_of(file) is not Kind.PICTURE:
            continue
        other = found.setdefault(inside.with_suffix("").as_posix(), file)
        if other is not file:
            raise DataError("evaluate.same-name", file, other=other)
    if not found:
        raise DataError("evaluate.no-pictures", folder)
    return found


def read_planes(file: Path) -> NDArray[np.float32]:
    """Return a picture (3, H, W) in [0, 1]."""
    return np.ascontiguousarray(read_picture(file).pixels.transpose(2, 0, 1))


def _require(pictures: Mapping[str, Path], theirs: Mapping[str, Path], folder: Path, other: Path) -> None:
    """Refuse pictures of another folder that have no partner in this one."""
    lonely = [file for name, file in theirs.items() if name not in pictures]
    if lonely:
        raise DataError(
            "evaluate.no-partner", lonely[0], count=len(lonely), all=len(theirs), other=other, folder=folder
        )
