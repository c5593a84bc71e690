"""Exported files that run one after the other on a picture; a single file is a sequence of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import ModelFileError
from restore_hub.model import tiled
from restore_hub.model.compatibility import matching_input
from restore_hub.model.locate import PLUS, locate
from restore_hub.model.manifest import TensorInfo
from restore_hub.model.model import Model
from restore_hub.model.model import load as load_file

Arrays: TypeAlias = Mapping[str, NDArray[Any]]


class ModelSequence:
    """Files that run in order, each on the first output of the one before. Nothing is clipped or rounded in between.

    A number, such as a noise level, is given by its name; files that share the name get the same.

    Attributes:
        models: the files, in order.
        path: their names, joined by `+`.
        takes: for each file but the first, the input that takes the output of the one before.
        shared: for each file, the names of the inputs of the whole that it takes.
        kind: what the whole does, as `Manifest.kind`.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        """Check each file's output against the next one's input.

        Raises:
            ModelFileError: as `restore_hub.model.compatibility.matching_input`.
        """
        self.models = tuple(models)
        self.path = Path(PLUS.join(str(model.path) for model in models))
        self.takes = [matching_input(one.manifest, one.path, two.manifest, two.path) for one, two in pairwise(models)]
        self.shared = [frozenset(tensor.name for tensor in self.models[0].manifest.inputs)]
        for model, taken in zip(self.models[1:], self.takes, strict=True):
            numbers = {number.name for user, number in self.numbers if user is model}
            raw = {tensor.name for tensor in model.manifest.inputs if taken.space == "raw"}
            self.shared.append(frozenset((numbers | raw) - {taken.name}))
        self.kind = _kind(models)

    @property
    def name(self) -> str:
        """The names in the manifests, joined."""
        return PLUS.join(model.manifest.name for model in self.models)

    @property
    def inputs(self) -> list[TensorInfo]:
        """The first file's inputs, then the numbers of later ones.

        Later files that take RAW get everything but the mosaic from these too.
        """
        found = {tensor.name: tensor for tensor in self.models[0].manifest.inputs}
        for _, number in self.numbers:
            found.setdefault(number.name, number)
        return list(found.values())

    @property
    def numbers(self) -> list[tuple[Model, TensorInfo]]:
        """The numbers that can be given, each with the file that takes it; no other input of the first has its name."""
        first = self.models[0].manifest
        taken = {tensor.name for tensor in first.inputs} - {tensor.name for tensor in first.numbers}
        return [(m, number) for m in self.models for number in m.manifest.numbers if number.name not in taken]

    @property
    def output(self) -> TensorInfo:
        """The last file's output."""
        return self.models[-1].manifest.outputs[0]

    def __call__(
        self, feeds: Arrays, run: Callable[[Model, Arrays], NDArray[np.float32]] = Model.__call__
    ) -> NDArray[np.float32]:
        """Run the files on named arrays and return the last one's first output (1, C, H, W).

        Args:
            feeds: the inputs by name, as `Model` takes them.
            run: how to run one file.

        Raises:
            ModelFileError: as `Model`.
        """
        return run(self.models[-1], self._until_last(feeds, run))

    def outputs(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Run the files on named arrays and return all outputs of the last one by name.

        Raises:
            ModelFileError: as `Model`.
        """
        return self.models[-1].outputs(self._until_last(feeds, Model.__call__))

    def _until_last(self, feeds: Arrays, run: Callable[[Model, Arrays], NDArray[np.float32]]) -> Arrays:
        """Run all files but the last; return what that one takes."""
        elsewhere = frozenset[str]().union(*self.shared) - self.shared[0]
        given = {name: array for name, array in feeds.items() if name not in elsewhere}
        for before, taken, shared in zip(self.models, self.takes, self.shared[1:], strict=False):
            theirs = {name: array for name, array in feeds.items() if name in shared}
            given = {**theirs, taken.name: run(before, given)}
        return given

    def verify(self) -> float:
        """Run each file's test vector; return the largest difference.

        Raises:
            ModelFileError: as `Model.verify`.
        """
        return max(model.verify() for model in self.models)


def misfit(models: Sequence[Model]) -> str:
    """Return why files can't run one after the other; an empty text if they can."""
    try:
        ModelSequence(models)
    except ModelFileError as error:
        return str(error)
    return ""


def load(source: str | Path, *, device: str = "cpu") -> Model | ModelSequence:
    """Load an exported file, or several that run one after the other.

    Args:
        source: an ONNX file, or files with a `+` in between; see `restore_hub.model.locate.locate`.
        device: a key of `restore_hub.model.devices.PROVIDERS`; a device that doesn't start is an error, never a
            fall-back.

    Returns:
        A `Model` for one file, else a `ModelSequence`.

    Raises:
        ModelFileError: a file is missing, damaged or not made by restore_hub; the device isn't available; or one file's
            output doesn't fit the next one's input.
    """
    sequence = as_sequence(source, device)
    return sequence if len(sequence.models) > 1 else sequence.models[0]


def as_sequence(source: str | Path | Model | ModelSequence, device: str | None = None) -> ModelSequence:
    """Return a sequence, of one file too.

    Args:
        source: the name of files, or what `load` returned.
        device: where to load files, by default `cpu`; something loaded must already be there.

    Raises:
        ModelFileError: as `load`; or it's loaded on another device.
    """
    if isinstance(source, str | Path):
        return ModelSequence([load_file(path, device=device or "cpu") for path in locate(source)])
    sequence = source if isinstance(source, ModelSequence) else ModelSequence([source])
    for model in sequence.models:
        if device not in (None, model.device):
            raise ModelFileError("model.other-device", model.path, loaded=model.device, device=device)
    return sequence


def run(
    sequence: ModelSequence, feeds: Arrays, tile: int | None = None, share: float = 1.0
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Run a sequence on one picture, each file whole or in tiles by its own rule; see `restore_hub.model.tiled.run`.

    The memory for every file is checked before the first one runs.

    Returns:
        The output (C, H, W), and lines for people about the tiles.

    Raises:
        ModelFileError: as `tiled.run`.
    """
    height, width = tiled.size_of(sequence.models[0].manifest, feeds)
    several = len(sequence.models) > 1
    for model in sequence.models:
        tiled.tile_side(model, height, width, tile, waiting=several, share=share)
    notes: list[str] = []

    def run_one(model: Model, given: Arrays) -> NDArray[np.float32]:
        made, lines = tiled.run(model, given, tile, share)
        notes.extend(f"{model.path.name}: {line}" if several else line for line in lines)
        return made[None]

    return sequence(feeds, run_one)[0], tuple(notes)


def _kind(models: Sequence[Model]) -> Literal["raw-to-rgb", "raw-to-raw", "rgb-to-rgb", "tensors"]:
    first, last = models[0].manifest, models[-1].manifest
    if len(models) == 1 or last.kind == "raw-to-raw":  # only a mosaic turns into one
        return last.kind
    if not _are_pictures(last.outputs[:1]):
        return "tensors"
    if first.kind.startswith("raw-"):
        return "raw-to-rgb"
    return "rgb-to-rgb" if _are_pictures(t for t in first.inputs if not t.is_number) else "tensors"


def _are_pictures(tensors: Iterable[TensorInfo]) -> bool:
    return [(tensor.space, tensor.shape) for tensor in tensors] == [("srgb", [1, 3, "height", "width"])]
