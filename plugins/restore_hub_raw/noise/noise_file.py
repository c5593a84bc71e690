"""The YAML file that keeps a sensor's noise: `data noise -o` writes it, `make-raw --noise` and `raw/photos` read it."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from restore_hub.errors import DataError, nearest, reason_of
from restore_hub.files import write_file
from restore_hub_raw.noise.model import PLANES, NoiseModel

_REQUIRED = ("shot", "read")
_KEYS = (*_REQUIRED, "planes", "camera", "sources")


def read_noise_file(path: Path) -> NoiseModel:
    """Read the model that `write_noise_file` wrote; only `shot` and `read` are required.

    Raises:
        DataError: a missing file, not YAML, an unknown or missing key, or a value that isn't a finite number >= 0.
    """
    path = Path(path)
    try:
        data: Any = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError("raw-noise.unreadable-file", path, cause=reason_of(error)) from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise DataError("raw-noise.not-yaml", path, cause=reason_of(error)) from error
    if not isinstance(data, dict):
        raise DataError("raw-noise.not-a-mapping", path)
    for key in data:
        if key not in _KEYS:
            raise DataError(
                "raw-noise.unknown-key", path, key=key, known=", ".join(_KEYS), mend=nearest(str(key), _KEYS)
            )
    for key in _REQUIRED:
        if key not in data:
            raise DataError("raw-noise.missing-key", path, key=key)
        value = data[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
            raise DataError("raw-noise.bad-variance", path, key=key, got=value)
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
        DataError: the folder is missing or can't be written to.
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
