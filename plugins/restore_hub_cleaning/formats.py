"""Labelled pictures from the published files of MNIST, FashionMNIST and CIFAR10.

====================  =================================================================================
data                  what `root` may be
====================  =================================================================================
digits                none: the 1797 digits, 8 x 8, that come with scikit-learn
mnist, fashion-mnist  a folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and, for the test
                      split, `t10k-…`, each plain or as `.gz`; or an `.npz` file with `images` (n, h, w) uint8
                      and `labels` (n,), which all splits are drawn from
cifar10               a folder with `data_batch_1` … `data_batch_5` and `test_batch` (the published Python
                      files, unchanged), or with `data_batch_1.bin` … (binary); or a zip file or folder of
                      pictures in `train/CLASS/` and `test/CLASS/`
====================  =================================================================================
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import DataError, MissingExtraError, OptionError, reason_of

Bytes = NDArray[np.uint8]


class Labelled(NamedTuple):
    """Pictures with their classes.

    Attributes:
        images: (n, ...) uint8, 0 to `white`.
        labels: (n,) uint8, below `classes`.
        test_images, test_labels: the same for a test split that has its own files, else `None`.
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
        OptionError: no root, and the data need one.
        DataError: a file is missing or damaged.
        MissingExtraError: `digits` without scikit-learn.
    """
    from restore_hub_cleaning.cifar import read_cifar
    from restore_hub_cleaning.idx import read_idx_folder

    if data == "digits":
        return _digits()
    if root is None:
        raise OptionError("cleaning.needs-root", "root", data=data)
    if not root.exists():
        raise DataError("cleaning.not-found", root, data=data)
    if root.suffix == ".npz":
        return checked(root, *_npz(root))
    return read_cifar(root) if data == "cifar10" else read_idx_folder(root)


def checked(place: Path, images: Bytes, labels: Bytes, *test: Bytes) -> Labelled:
    """Return pictures and labels, checked to belong together.

    Raises:
        DataError: their numbers differ or are zero, the sizes of the splits' pictures differ, or a label is above 9.
    """
    for pictures, classes in ((images, labels), test) if test else ((images, labels),):
        if len(pictures) != len(classes):
            raise DataError("cleaning.counts-differ", place, pictures=len(pictures), labels=len(classes))
        if len(classes) == 0:
            raise DataError("cleaning.no-samples", place)
        if classes.max() > 9:
            raise DataError("cleaning.label-out-of-range", place, got=int(classes.max()))
    if test and test[0].shape[1:] != images.shape[1:]:
        raise DataError("cleaning.sizes-differ", place, train=images.shape[1:], test=test[0].shape[1:])
    return Labelled(images, labels, *test)


def _digits() -> Labelled:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("cleaning.needs-scikit-learn", "data: digits") from error
    images, labels = load_digits(return_X_y=True)
    return Labelled(np.uint8(images), np.uint8(labels), white=16.0)


def _npz(path: Path) -> tuple[Bytes, Bytes]:
    try:
        with np.load(path, allow_pickle=False) as file:
            images, labels = file["images"], file["labels"]
    except KeyError as error:
        raise DataError("cleaning.npz-lacks-array", path, array=error.args[0].split()[0]) from None
    except Exception as error:  # zipfile, zlib, numpy and the system have errors of their own
        raise DataError("cleaning.damaged", path, cause=reason_of(error)) from None
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or labels.ndim != 1 or labels.dtype.kind not in "iu":
        found = {"images": f"{images.dtype} {images.shape}", "labels": f"{labels.dtype} {labels.shape}"}
        raise DataError("cleaning.npz-arrays", path, **found)
    for label in labels[(labels < 0) | (labels > 9)]:
        raise DataError("cleaning.label-out-of-range", path, got=int(label))
    return images, np.uint8(labels)
