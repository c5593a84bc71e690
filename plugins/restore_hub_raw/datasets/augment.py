"""Random changes of a photo by transforms of albumentations, named in a spec."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import MissingExtraError, OptionError, did_you_mean

_TOLERANCE = 1e-2  # interpolation overshoots a little


class Augment:
    """Transforms of albumentations in the order given, each drawn from the generator handed in.

    Args:
        transforms: options by name of the transform, as albumentations has them; what it does to other things
            than a picture does not count.
        size: height and width of the pictures to come, as far as it is known.

    Raises:
        OptionError: of the option `augment`: an unknown transform, an option that it does not take, or one that
            changes the size or the value range of a picture, or needs more than one.
        MissingExtraError: albumentations is not installed.
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
            OptionError: its size or value range is another one now.
        """
        for name, transform in self._transforms.items():
            transform.set_random_seed(int(rng.integers(2**32)))
            picture = _apply(name, transform, picture)
        return picture


def _library() -> Any:
    """Import albumentations, which else asks on the network for newer versions."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    try:
        import albumentations
    except ImportError as error:
        raise MissingExtraError(
            f"`augment` needs albumentations ({error}): pip install 'restore-hub[train]', or leave it out"
        ) from error
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
        raise _error(name, f"no transform of pictures in albumentations{did_you_mean(name, known)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # all that an option it does not know brings
            return known[name](**options)
    except Exception as error:  # pydantic's, TypeError and its own
        raise _error(name, " ".join(str(error).split())[:300]) from error


def _apply(name: str, transform: Any, picture: NDArray[np.float32], always: bool = False) -> NDArray[np.float32]:
    try:
        changed = transform(image=picture, force_apply=always)["image"]
    except Exception as error:  # what it needs beside a picture, and whatever OpenCV raises
        raise _error(name, " ".join(str(error).split())[:300]) from error
    if np.shape(changed) != picture.shape:
        raise _error(name, f"makes {np.shape(changed)} of {picture.shape}; it must keep the size")
    if changed.dtype != np.float32 or not (changed.min() >= -_TOLERANCE and changed.max() <= 1 + _TOLERANCE):
        raise _error(name, "makes values outside [0, 1]; give a transform whose result is a picture")
    return np.ascontiguousarray(np.clip(changed, 0, 1))


def _error(name: str, reason: str) -> OptionError:
    return OptionError(f"option 'augment' of raw/photos: {name}: {reason}", "augment")
