"""Exported files that run one after the other on a picture; one file alone is the shortest such chain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import ModelFileError
from restore_hub.model import tiled
from restore_hub.model.compatibility import joint
from restore_hub.model.locate import JOINT, paths_of
from restore_hub.model.manifest import TensorInfo
from restore_hub.model.model import Model
from restore_hub.model.model import load as load_file

Arrays: TypeAlias = Mapping[str, NDArray[Any]]


class Chained:
    """Files of which each takes what the one before gave, as it came: nothing is clipped or rounded in between.

    Attributes:
        models: the files, in order.
        path: their names, joined as a person gives them.
        takes: of each file but the first, its input that takes what the one before gave.
        kind: what the whole is, as `Manifest.kind`.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        """Check what each gives against what the next takes.

        Raises:
            ModelFileError: as `restore_hub.model.compatibility.joint`.
        """
        self.models = tuple(models)
        self.path = Path(JOINT.join(str(model.path) for model in models))
        self.takes = [joint(one.manifest, one.path, two.manifest, two.path) for one, two in pairwise(models)]
        self.kind = _kind(models)

    @property
    def name(self) -> str:
        """The names in the manifests, joined."""
        return JOINT.join(model.manifest.name for model in self.models)

    @property
    def inputs(self) -> list[TensorInfo]:
        """What the first file takes; later ones that take RAW get all but the mosaic from there too."""
        return self.models[0].manifest.inputs

    @property
    def output(self) -> TensorInfo:
        """What the last file gives."""
        return self.models[-1].manifest.outputs[0]

    def __call__(
        self, feeds: Arrays, run: Callable[[Model, Arrays], NDArray[np.float32]] = Model.__call__
    ) -> NDArray[np.float32]:
        """Run the files on named arrays and return the last one's output (1, C, H, W).

        Args:
            feeds: inputs of the first file by name, as `Model` takes them.
            run: how to run one file.

        Raises:
            ModelFileError: as `Model`.
        """
        made = run(self.models[0], feeds)
        for model, taken in zip(self.models[1:], self.takes, strict=True):
            shared = [tensor.name for tensor in model.manifest.inputs if taken.space == "raw" and tensor.name in feeds]
            made = run(model, {**{name: feeds[name] for name in shared}, taken.name: made})
        return made

    def verify(self) -> float:
        """Run each file's test vector; return the largest difference.

        Raises:
            ModelFileError: as `Model.verify`.
        """
        return max(model.verify() for model in self.models)


def misfit(models: Sequence[Model]) -> str:
    """Return why files cannot run one after the other; an empty text where they can."""
    try:
        Chained(models)
    except ModelFileError as error:
        return str(error)
    return ""


def load(source: str | Path, *, device: str = "cpu") -> Model | Chained:
    """Load an exported file, or several that run one after the other.

    Args:
        source: an ONNX file, or files with a `+` in between; see `restore_hub.model.locate.paths_of`.
        device: a key of `restore_hub.model.devices.PROVIDERS`; one that does not start is an error, never a
            fall-back.

    Returns:
        A `Model` for one file, else a `Chained`.

    Raises:
        ModelFileError: a file is missing, damaged or not one of restore_hub; the device is not there; or one file does
            not give what the next one takes.
    """
    chain = chained(source, device)
    return chain if len(chain.models) > 1 else chain.models[0]


def chained(source: str | Path | Model | Chained, device: str | None = None) -> Chained:
    """Return whatever names or is a model as a chain, of one file too.

    Args:
        source: what names it, or what `load` gave.
        device: where to load it, `cpu` without it; of what is loaded it may only be where that is.

    Raises:
        ModelFileError: as `load`; or it is loaded elsewhere.
    """
    if isinstance(source, str | Path):
        return Chained([load_file(path, device=device or "cpu") for path in paths_of(source)])
    chain = source if isinstance(source, Chained) else Chained([source])
    for model in chain.models:
        if device not in (None, model.device):
            raise ModelFileError(f"{model.path} is loaded on {model.device}; load it with device={device!r}")
    return chain


def run(
    chain: Chained, feeds: Arrays, tile: int | None = None, share: float = 1.0
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Run a chain on one picture, each file whole or in tiles by its own rule; see `restore_hub.model.tiled.run`.

    That the memory suffices for every file is looked at before the first one runs.

    Returns:
        The output (C, H, W), and lines that say what a person should know of the tiles.

    Raises:
        ModelFileError: as `tiled.run`.
    """
    height, width = tiled.size_of(chain.models[0].manifest, feeds)
    several = len(chain.models) > 1
    for model in chain.models:
        tiled.choose(model, height, width, tile, passed=several, share=share)
    notes: list[str] = []

    def part(model: Model, given: Arrays) -> NDArray[np.float32]:
        made, said = tiled.run(model, given, tile, share)
        notes.extend(f"{model.path.name}: {line}" if several else line for line in said)
        return made[None]

    return chain(feeds, part)[0], tuple(notes)


def _kind(models: Sequence[Model]) -> Literal["raw-to-rgb", "raw-to-raw", "rgb-to-rgb", "tensors"]:
    first, last = models[0].manifest, models[-1].manifest
    if len(models) == 1 or last.kind == "raw-to-raw":  # only a mosaic becomes one
        return last.kind
    if not _are_pictures(last.outputs):
        return "tensors"
    if first.kind.startswith("raw-"):
        return "raw-to-rgb"
    return "rgb-to-rgb" if _are_pictures(first.inputs) else "tensors"


def _are_pictures(tensors: Sequence[TensorInfo]) -> bool:
    return [(tensor.space, tensor.shape) for tensor in tensors] == [("srgb", [1, 3, "height", "width"])]
