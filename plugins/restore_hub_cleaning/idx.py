"""The idx files of MNIST and FashionMNIST, as they are or gzipped."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from restore_hub.errors import DataError
from restore_hub_cleaning.formats import Bytes, Labelled, checked

MOST = 1 << 30  # bytes; the largest of the real files has 47 million


def read_idx_folder(folder: Path) -> Labelled:
    """Return the pictures of a folder of idx files, with a test split where it has the `t10k` files.

    Raises:
        DataError: a file that is missing or damaged.
    """
    train = [_find(folder, f"train-{kind}") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    test = [_find(folder, f"t10k-{kind}") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    if None in train:
        if None in test:
            raise DataError(
                f"{folder}: has no train-images-idx3-ubyte with train-labels-idx1-ubyte, plain or as .gz; these are "
                "the files of MNIST and FashionMNIST"
            )
        train, test = test, [None, None]  # the t10k files alone: all splits are made of them
    if None in test:
        test = []
    read = [read_idx(path) for path in (*train, *test) if path is not None]
    for array, path in zip(read, (*train, *test), strict=True):
        wanted = 3 if "images" in str(path) else 1
        if array.ndim != wanted:
            raise DataError(
                f"{path}: holds an array of {array.ndim} dimensions, not {wanted}; a file under a wrong name?"
            )
    return checked(folder, *read)


def read_idx(path: Path) -> Bytes:
    """Return the array of an idx file of unsigned bytes.

    Raises:
        DataError: not such a file, cut off, damaged, or with bytes left over.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MOST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: is damaged or cut off: {' '.join(str(error).split())[:200]}") from None
    if len(data) < 4 or data[:3] != b"\x00\x00\x08" or not 1 <= data[3] <= 4:
        raise DataError(f"{path}: is no idx file of unsigned bytes: it begins with {data[:4].hex() or 'nothing'}")
    begin = 4 + 4 * data[3]
    if len(data) < begin:
        raise DataError(f"{path}: is cut off in its header")
    shape = struct.unpack(f">{data[3]}I", data[4:begin])
    if len(data) - begin != math.prod(shape):
        said = "more than" if len(data) - begin > math.prod(shape) else "cut off:"
        raise DataError(f"{path}: {said} the {math.prod(shape)} bytes of {shape}, {len(data) - begin} are there")
    return np.frombuffer(data, np.uint8, offset=begin).reshape(shape)


def _find(folder: Path, name: str) -> Path | None:
    spellings = (name, name.replace("-idx", ".idx"))
    places = [folder / (spelling + ending) for spelling in spellings for ending in ("", ".gz")]
    return next((path for path in places if path.is_file()), None)
