"""The idx files of MNIST and FashionMNIST, plain or gzipped, read by torchvision."""

from __future__ import annotations

import contextlib
import gzip
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torchvision.datasets.mnist import read_image_file, read_label_file

from restore_hub.errors import DataError, reason_of
from restore_hub_cleaning.formats import Bytes, Labelled, checked

MOST = 1 << 30  # bytes; the largest published file has 47 million
IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"


def read_idx_folder(folder: Path) -> Labelled:
    """Return the pictures of a folder of idx files; with the `t10k` files, they are the test split.

    Raises:
        DataError: a file is missing or damaged.
    """
    train, test = ([_find(folder, f"{split}-{kind}") for kind in (IMAGES, LABELS)] for split in ("train", "t10k"))
    if None in train:
        if None in test:
            raise DataError("cleaning.no-idx-files", folder)
        train, test = test, []  # only the t10k files: all splits come from them
    paths = [path for path in (*train, *([] if None in test else test)) if path is not None]
    return checked(folder, *map(read_idx, paths))


def read_idx(path: Path) -> Bytes:
    """Return the pictures (n, h, w) or the labels (n,) of an idx file of unsigned bytes, by its name.

    Raises:
        DataError: the file is cut off, damaged, or not such a file.
    """
    try:
        with _unzipped(path) as plain:
            return np.uint8((read_image_file if "images" in path.name else read_label_file)(plain))
    except (OSError, EOFError, zlib.error, AssertionError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError("cleaning.damaged", path, cause=reason_of(error)) from None


@contextlib.contextmanager
def _unzipped(path: Path) -> Iterator[Path]:
    """Yield the path of the plain file, since torchvision doesn't read gzipped ones."""
    if path.suffix != ".gz":
        yield path
        return
    with gzip.open(path) as file, tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / path.stem
        plain.write_bytes(file.read(MOST))
        yield plain


def _find(folder: Path, name: str) -> Path | None:
    spellings = (name, name.replace("-idx", ".idx"))
    places = [folder / (spelling + ending) for spelling in spellings for ending in ("", ".gz")]
    return next((path for path in places if path.is_file()), None)
