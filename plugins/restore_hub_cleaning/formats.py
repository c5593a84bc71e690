"""Labelled pictures from the files that MNIST, FashionMNIST and CIFAR10 are published in.

====================  =================================================================================
data                  what `root` may be
====================  =================================================================================
digits                none: the 1797 digits, 8 x 8, that scikit-learn brings along
mnist, fashion-mnist  a folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and, for the test
                      split, `t10k-…`, each as it is or as `.gz`; or an `.npz` file with `images` (n, h, w) uint8
                      and `labels` (n,), of which all splits are made
cifar10               a folder with `data_batch_1` … `data_batch_5` and `test_batch` (Python pickles), or with
                      `data_batch_1.bin` … (binary); or a zip file or folder of pictures in `train/CLASS/`
                      and `test/CLASS/`
====================  =================================================================================
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import DataError, MissingExtraError, OptionError

Bytes = NDArray[np.uint8]


class Labelled(NamedTuple):
    """Pictures with their classes.

    Attributes:
        images: (n, ...) uint8, 0 to `white`.
        labels: (n,) uint8, below `classes`.
        test_images, test_labels: likewise of a test split that has files of its own, else `None`.
    """

    images: Bytes
    labels: Bytes
    test_images: Bytes | None = None
    test_labels: Bytes | None = None
    white: float = 255.0
    classes: int = 10


def load(data: str, root: Path | None) -> Labelled:
    """Return the pictures of a data set.

    Raises:
        OptionError: no root where one is needed. DataError: files that are missing or damaged, naming the first.
        MissingExtraError: `digits` without scikit-learn.
    """
    from restore_hub_cleaning.cifar import read_cifar
    from restore_hub_cleaning.idx import read_idx_folder

    if data == "digits":
        return _digits()
    if root is None:
        raise OptionError(f"{data} needs `root`, the file or folder of its files", "root")
    if not root.exists():
        raise DataError(f"{root}: no such file or folder; `root` is where the files of {data} lie")
    if root.suffix == ".npz":
        return checked(root, *_npz(root))
    return read_cifar(root) if data == "cifar10" else read_idx_folder(root)


def checked(place: Path, images: Bytes, labels: Bytes, *test: Bytes) -> Labelled:
    """Return pictures and labels that fit each other.

    Raises:
        DataError: different numbers of them, none, or a label that is no class.
    """
    for pictures, classes in ((images, labels), test) if test else ((images, labels),):
        if len(pictures) != len(classes):
            raise DataError(f"{place}: {len(pictures)} pictures and {len(classes)} labels; files of two data sets?")
        if len(classes) == 0 or classes.max() > 9:
            raise DataError(f"{place}: {'no samples' if len(classes) == 0 else f'a label {classes.max()}, above 9'}")
    if test and test[0].shape[1:] != images.shape[1:]:
        raise DataError(f"{place}: pictures of {images.shape[1:]} to train on and of {test[0].shape[1:]} to test")
    return Labelled(images, labels, *test)


def _digits() -> Labelled:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError(
            "`data: digits` comes with scikit-learn, which is not installed; run: pip install 'restore-hub[demo]'"
        ) from error
    images, labels = load_digits(return_X_y=True)
    return Labelled(np.uint8(images), np.uint8(labels), white=16.0)


def _npz(path: Path) -> tuple[Bytes, Bytes]:
    try:
        with np.load(path, allow_pickle=False) as file:
            images, labels = file["images"], file["labels"]
    except KeyError as error:
        raise DataError(f"{path}: has no array {error.args[0].split()[0]!r}; it needs `images` and `labels`") from None
    except Exception as error:  # zipfile, zlib, numpy and the system each raise their own
        raise DataError(f"{path}: is damaged or no npz file: {' '.join(str(error).split())[:200]}") from None
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path}: `images` is {images.dtype} {images.shape} and `labels` {labels.dtype} {labels.shape}; they are "
            "uint8 (n, h, w) and whole numbers (n,)"
        )
    if labels.size and not 0 <= labels.min() <= labels.max() <= 9:
        raise DataError(f"{path}: labels from {labels.min()} to {labels.max()}; they are 0 to 9")
    return images, np.uint8(labels)
