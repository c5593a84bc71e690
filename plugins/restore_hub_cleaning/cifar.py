"""CIFAR10: the published Python files (by torchvision), the binary files, and pictures in one folder per class."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity

from restore_hub.errors import DataError, reason_of
from restore_hub_cleaning.formats import Bytes, Labelled, checked

PIXELS = 3 * 32 * 32
FILES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ENDINGS = (".jpg", ".jpeg", ".png")
LARGEST = 1 << 24  # bytes of one picture


def read_cifar(root: Path) -> Labelled:
    """Return the pictures, (n, 3072): the red, green and blue planes one after another.

    Raises:
        DataError: there are no such files, or one is damaged.
    """
    if root.is_file():
        if not zipfile.is_zipfile(root):
            raise DataError("cleaning.not-a-zip", root)
        return _pictures(root, list(_in_zip(root)))
    for ending, read in (("", _read_published), (".bin", _read_binaries)):
        names = [name + ending for name in FILES]
        missing = [name for name in names if not (root / name).is_file()]
        if len(missing) < len(names):
            if missing:
                raise DataError("cleaning.cifar-lacks-file", root / missing[0])
            return read(root)
    return _pictures(root, list(_in_folder(root)))


class _Published(CIFAR10):
    """The Python files, which are pickles: torchvision checks that each has the published MD5 before it loads any."""

    base_folder = ""

    def _load_meta(self) -> None:
        """Skip the names of the classes, which are in a file of their own."""


def _read_published(root: Path) -> Labelled:
    try:
        splits = [_Published(root, train=train) for train in (True, False)]
    except RuntimeError:  # raised for a file with another MD5; an unpublished pickle is never loaded
        lists = (*_Published.train_list, *_Published.test_list)
        changed = next(name for name, md5 in lists if not check_integrity(root / name, md5))
        raise DataError("cleaning.cifar-not-published", root / changed) from None
    planes = [split.data.transpose(0, 3, 1, 2).reshape(-1, PIXELS) for split in splits]
    labels = [np.uint8(split.targets) for split in splits]
    return checked(root, planes[0], labels[0], planes[1], labels[1])


def _read_binaries(root: Path) -> Labelled:
    *train, test = (_read_binary(root / f"{name}.bin") for name in FILES)
    images, labels = (np.concatenate([part[i] for part in train]) for i in (0, 1))
    return checked(root, images, labels, *test)


def _read_binary(path: Path) -> tuple[Bytes, Bytes]:
    """Return the pictures and labels of a binary file, which torchvision can't read: records of 1 + 3072 bytes."""
    data = np.frombuffer(path.read_bytes(), np.uint8)
    if len(data) == 0 or len(data) % (PIXELS + 1):
        raise DataError("cleaning.cifar-cut-off", path, found=len(data), record=PIXELS + 1)
    records = data.reshape(-1, PIXELS + 1)
    return records[:, 1:], records[:, 0]


def _in_zip(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in sorted(archive.infolist(), key=lambda e: e.filename):
                if entry.filename.lower().endswith(ENDINGS):
                    if entry.file_size > LARGEST:
                        raise DataError(
                            "cleaning.picture-size", path / entry.filename, found=f"{entry.file_size} bytes"
                        )
                    yield entry.filename, archive.read(entry)
    except DataError:
        raise
    except Exception as error:  # zipfile and zlib have errors of their own
        raise DataError("cleaning.damaged", path, cause=reason_of(error)) from None


def _in_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.glob("*/*/*")):
        if path.suffix.lower() in ENDINGS:
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def _pictures(root: Path, files: list[tuple[str, bytes]]) -> Labelled:
    splits: dict[str, tuple[list[Bytes], list[int]]] = {"train": ([], []), "test": ([], [])}
    for name, data in files:
        *_, split, kind, _ = ("", "", *Path(name).parts)
        if split in splits and kind in CLASSES:
            splits[split][0].append(_decode(root / name, data))
            splits[split][1].append(CLASSES.index(kind))
    if not splits["train"][0]:
        raise DataError("cleaning.no-cifar-files", root)
    arrays = [
        array for pictures, labels in splits.values() if pictures for array in (np.stack(pictures), np.uint8(labels))
    ]
    return checked(root, *arrays)


def _decode(place: Path, data: bytes) -> Bytes:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            size = picture.size
            pixels = np.asarray(picture.convert("RGB")) if size == (32, 32) else None
    except Exception as error:  # Pillow raises errors of many kinds
        raise DataError("cleaning.damaged", place, cause=reason_of(error)) from None
    if pixels is None:
        raise DataError("cleaning.picture-size", place, found=f"{size[0]} x {size[1]} pixels")
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)).reshape(PIXELS)
