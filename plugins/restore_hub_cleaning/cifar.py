"""CIFAR10: the Python pickles, the binary files, and pictures in a folder for each class."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from restore_hub.errors import DataError
from restore_hub_cleaning.formats import Bytes, Labelled, checked

PIXELS = 3 * 32 * 32
PARTS = [f"data_batch_{number}" for number in range(1, 6)]
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ENDINGS = (".jpg", ".jpeg", ".png")
LARGEST = 1 << 24  # bytes of one picture


def read_cifar(root: Path) -> Labelled:
    """Return the pictures, (n, 3072), red, green and blue planes one after another.

    Raises:
        DataError: no such files, or one that is damaged.
    """
    if root.is_file():
        if not zipfile.is_zipfile(root):
            raise DataError(f"{root}: is no zip file of pictures; CIFAR10 is a folder, or a zip file with train/CLASS/")
        return _pictures(root, list(_in_zip(root)))
    for ending, read in (("", read_pickle), (".bin", read_binary)):
        names = [root / (name + ending) for name in (*PARTS, "test_batch")]
        there = [path for path in names if path.is_file()]
        if there:
            missing = [path.name for path in names if path not in there]
            if missing:
                raise DataError(f"{root}: has {there[0].name} but no {missing[0]}; CIFAR10 has six such files")
            parts = [read(path) for path in names]
            images, labels = (np.concatenate([part[i] for part in parts[:5]]) for i in (0, 1))
            return checked(root, images, labels, *parts[5])
    return _pictures(root, list(_in_folder(root)))


def read_binary(path: Path) -> tuple[Bytes, Bytes]:
    """Return pictures and labels of a binary file: records of one byte of label and 3072 of picture.

    Raises:
        DataError: not a whole number of records, or a label above 9.
    """
    data = np.frombuffer(path.read_bytes(), np.uint8)
    if len(data) == 0 or len(data) % (PIXELS + 1):
        raise DataError(f"{path}: has {len(data)} bytes, no whole number of records of {PIXELS + 1}; it is cut off")
    records = data.reshape(-1, PIXELS + 1)
    return records[:, 1:], records[:, 0]


def read_pickle(path: Path) -> tuple[Bytes, Bytes]:
    """Return pictures and labels of a pickle, whose only callables are those that rebuild arrays of numbers.

    Raises:
        DataError: damaged, or a pickle that asks for anything else, which is not run.
    """
    try:
        with path.open("rb") as file:
            found = _Arrays(file, encoding="bytes").load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle raises nearly everything
        raise DataError(f"{path}: is damaged or no pickle: {' '.join(str(error).split())[:200]}") from None
    content: Any = found if isinstance(found, dict) else {}
    images, labels = content.get(b"data"), content.get(b"labels")
    good = (
        isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.ndim == 2 and images.shape[1] == PIXELS
    )
    whole = isinstance(labels, list) and all(type(label) is int and 0 <= label <= 9 for label in labels)
    if not good or not whole:
        raise DataError(f"{path}: is no batch of CIFAR10: it needs `data` (n, {PIXELS}) uint8 and `labels` from 0 to 9")
    return images, np.array(labels, np.uint8)


class _Arrays(pickle.Unpickler):
    """Finds nothing but what numpy needs to rebuild an array."""

    allowed: ClassVar = {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed callable."""
        if (module, name) not in self.allowed:
            raise DataError(f"the pickle asks for {module}.{name}, which no batch of CIFAR10 does; it is not opened")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _in_zip(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in sorted(archive.infolist(), key=lambda e: e.filename):
                if entry.filename.lower().endswith(ENDINGS):
                    if entry.file_size > LARGEST:
                        raise DataError(f"{path}: {entry.filename} has {entry.file_size} bytes, no picture of CIFAR10")
                    yield entry.filename, archive.read(entry)
    except DataError:
        raise
    except Exception as error:  # zipfile and zlib each raise their own
        raise DataError(f"{path}: is damaged: {' '.join(str(error).split())[:200]}") from None


def _in_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.glob("*/*/*")):
        if path.suffix.lower() in ENDINGS:
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def _pictures(root: Path, files: list[tuple[str, bytes]]) -> Labelled:
    splits: dict[str, tuple[list[Bytes], list[int]]] = {"train": ([], []), "test": ([], [])}
    for name, data in files:
        *_, split, kind, _ = ("", "", *Path(name).parts)
        if split in splits and kind in CLASSES:
            splits[split][0].append(_decode(root, name, data))
            splits[split][1].append(CLASSES.index(kind))
    if not splits["train"][0]:
        raise DataError(
            f"{root}: has neither data_batch_1 (pickles), data_batch_1.bin, nor pictures in train/CLASS/, as train/cat/"
        )
    arrays = [
        array for pictures, labels in splits.values() if pictures for array in (np.stack(pictures), np.uint8(labels))
    ]
    return checked(root, *arrays)


def _decode(root: Path, name: str, data: bytes) -> Bytes:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            size = picture.size
            pixels = np.asarray(picture.convert("RGB")) if size == (32, 32) else None
    except Exception as error:  # Pillow raises nearly everything
        raise DataError(f"{root}: {name} is damaged: {' '.join(str(error).split())[:200]}") from None
    if pixels is None:
        raise DataError(f"{root}: {name} has {size[0]} x {size[1]} pixels, those of CIFAR10 have 32 x 32")
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)).reshape(PIXELS)
