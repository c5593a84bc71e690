"""The noise of a RAW sensor, as a model with two numbers, and the small file that keeps it."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from restore_hub.errors import DataError, did_you_mean
from restore_hub.files import write_file

PLANES = ("R", "Gr", "Gb", "B")
_NEEDED = ("shot", "read")
_KEYS = (*_NEEDED, "planes", "camera", "sources")


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """Poisson-Gaussian noise: the variance at the signal x is `shot * x + read`.

    x is 0 at black and 1 at white, before white balance. Foi et al., "Practical Poissonian-Gaussian Noise
    Modeling and Fitting for Single-Image Raw-Data", IEEE TIP 2008, eq. 3; DNG's NoiseProfile (tag 51041).

    Attributes:
        shot: variance of photon noise at x = 1, which is 1 / electrons at white.
        read: variance without light.
    """

    shot: float
    read: float

    def variance(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return the variance at the signals `x`, any shape; below black there is no photon noise to lose."""
        return np.asarray(self.shot * np.maximum(np.asarray(x, np.float64), 0.0) + self.read)


def read_noise_file(path: Path) -> NoiseModel:
    """Read the model that `write_noise_file` keeps; only `shot` and `read` are needed, the rest is information.

    Raises:
        DataError: no such file, not YAML, a key unknown or missing, or a value that is no finite number >= 0.
    """
    path = Path(path)
    try:
        data: Any = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}; give a file of `data noise -o`") from error
    except (YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: no noise file, as it is not YAML: {reason}") from error
    if not isinstance(data, dict):
        raise DataError(f"{path}: a noise file is a mapping with the keys shot and read")
    for key in data:
        if key not in _KEYS:
            raise DataError(f"{path}: unknown key {key!r}{did_you_mean(str(key), _KEYS)}; known are {', '.join(_KEYS)}")
    for key in _NEEDED:
        if key not in data:
            raise DataError(f"{path}: the key {key!r} is missing; give it a variance of 0 or more")
        value = data[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
            raise DataError(f"{path}: {key!r} is {value!r}, but a variance is a finite number of 0 or more")
    return NoiseModel(float(data["shot"]), float(data["read"]))


def write_noise_file(
    path: Path,
    model: NoiseModel,
    planes: Sequence[NoiseModel] = (),
    camera: str = "",
    sources: Sequence[str] = (),
) -> None:
    """Write a model as YAML 1.2, whole or not at all; an older file is replaced.

    Args:
        path: the file.
        model: of all planes together; what `read_noise_file` returns.
        planes: of R, Gr, Gb and B, or nothing.
        camera: make and model.
        sources: names of the files that were measured.

    Raises:
        DataError: the folder is missing or cannot be written.
    """
    data: dict[str, Any] = asdict(model)
    if planes:
        data["planes"] = [{"plane": name, **asdict(plane)} for name, plane in zip(PLANES, planes, strict=True)]
    if camera:
        data["camera"] = camera
    if sources:
        data["sources"] = list(sources)
    yaml, text = YAML(), io.StringIO()
    yaml.dump(data, text)
    write_file(Path(path), text.getvalue().encode())
