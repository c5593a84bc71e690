"""Random changes to a photo, by transforms of albumentations named in a spec."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import MissingExtraError, OptionError, nearest, reason_of

_TOLERANCE = 1e-2  # interpolation overshoots a little


class Augment:
    """Transforms of albumentations in the given order, which draw from the generator they are called with.

    Args:
        transforms: name of each transform to its options, both as in albumentations; only its effect on pictures
            counts.
        size: height and width of the pictures, as far as known.

    Raises:
        OptionError: for the option `augment`: an unknown transform, an option that it doesn't take, or a transform
            that changes the size or the value range of a picture, or needs more than a picture.
        MissingExtraError: albumentations isn't installed.
    """

    def __init__(self, transforms: Mapping[str, Mapping[str, Any]], size: tuple[int, int]) -> None:
        library = _library() if transforms else None
        self._transforms = {name: _make(library, name, options) for name, options in transforms.items()}
        trial = np.random.default_rng(0).random((*size, 3), np.float32)
        for name, transform in self._transforms.items():
            transform.set_random_seed(0)
            _apply(name, transform, trial, always=True)

    def __call__(self, picture: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return the changed picture, float32 (H, W, 3) in [0, 1].

        Raises:
            OptionError: a transform changed its size or value range.
        """
        for name, transform in self._transforms.items():
            transform.set_random_seed(int(rng.integers(2**32)))
            picture = _apply(name, transform, picture)
        return picture


def _library() -> Any:
    """Import albumentations without its look-up of newer versions on the network."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    try:
        import albumentations
    except ImportError as error:
        raise MissingExtraError("raw-augment.no-albumentations", "augment", cause=error) from error
    return albumentations


def _make(library: Any, name: str, options: Mapping[str, Any]) -> Any:
    bases = (library.ImageOnlyTransform, library.DualTransform)
    known: dict[str, Any] = {
        key: kind
        for key, kind in vars(library).items()
        if inspect.isclass(kind) and issubclass(kind, bases)
        if kind not in bases and not issubclass(kind, library.Transform3D)
    }
    if name not in known:
        raise OptionError("raw-augment.unknown-transform", "augment", transform=name, mend=nearest(name, known))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # unknown options only bring a warning
            return known[name](**options)
    except Exception as error:  # pydantic's, TypeError and its own
        raise OptionError("raw-augment.bad-option", "augment", transform=name, cause=reason_of(error)) from error


def _apply(name: str, transform: Any, picture: NDArray[np.float32], always: bool = False) -> NDArray[np.float32]:
    try:
        changed = transform(image=picture, force_apply=always)["image"]
    except Exception as error:  # a mask or boxes that it needs too, and whatever OpenCV raises
        raise OptionError("raw-augment.fails", "augment", transform=name, cause=reason_of(error)) from error
    if np.shape(changed) != picture.shape:
        sizes = {"before": picture.shape, "after": np.shape(changed)}
        raise OptionError("raw-augment.changes-size", "augment", transform=name, **sizes)
    if changed.dtype != np.float32 or not (changed.min() >= -_TOLERANCE and changed.max() <= 1 + _TOLERANCE):
        raise OptionError("raw-augment.leaves-range", "augment", transform=name)
    return np.ascontiguousarray(np.clip(changed, 0, 1))
