"""An exported file as what is measured; it needs no PyTorch."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.contracts import Port
from restore_hub.evaluate.predictor import Arrays
from restore_hub.model import tiled
from restore_hub.model.manifest import SIZES, TensorInfo
from restore_hub.model.model import Model
from restore_hub.photo.raw.mosaic import planes
from restore_hub.spec import DATA


class FilePredictor:
    """Runs an exported file on the tensors that its chain read in training (`predictor.Predictor`).

    A file that takes a mosaic gets packed RAW planes as one, and a mosaic that comes out is packed into planes.

    Args:
        model: the file.
        output: what the spec calls the tensor that the file gives; of several outputs the first, and the others have
            their own names.
        reads: the data tensors that the chain reads.
    """

    def __init__(self, model: Model, output: str, reads: Sequence[str]) -> None:
        self._model = model
        self.reads = tuple(reads)
        first, *others = model.manifest.outputs
        self._made = {output: first, **{info.name: info for info in others}}
        self._planes = output if model.manifest.kind == "raw-to-raw" else None
        ports = {name: _port(info) for name, info in self._made.items()}
        self.ports = ports if self._planes is None else {**ports, output: Port(4, "raw", scale=0.5)}

    def __call__(self, sample: Arrays, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
        """Return those of the file's outputs for a sample that are wanted."""
        names = [name for name in self._made if name in wanted]
        made = self._run(names, self.feeds(sample)) if names else {}
        arrays = {name: made[self._made[name].name] for name in names}
        return {name: planes_of(array) if name == self._planes else array[0] for name, array in arrays.items()}

    def _run(self, names: Sequence[str], feeds: Arrays) -> Arrays:
        """Return outputs by their names in the file; a picture that is the only one runs in tiles if it's large."""
        first = self._model.manifest.outputs[0]
        if [self._made[name] for name in names] == [first] and self._model.manifest.kind != "tensors":
            return {first.name: tiled.run(self._model, feeds)[0][None]}
        return self._model.outputs(feeds)

    def feeds(self, sample: Arrays) -> dict[str, NDArray[Any]]:
        """Return a sample as the file takes it."""
        found = {name.removeprefix(DATA): sample[name] for name in self.reads if name in sample}
        taken = {name: np.ascontiguousarray(array[None]) for name, array in found.items()}
        if not self._model.manifest.kind.startswith("raw-"):
            return taken
        (packed,) = (name for name, array in found.items() if array.ndim)  # numbers go beside it
        del taken[packed]
        return {**taken, "mosaic": mosaic_of(found[packed])}


def taken_by(model: Model) -> dict[str, Port]:
    """Return the tensors of the data that a file takes, with their ports; a mosaic is `data.raw`, packed."""
    if not model.manifest.kind.startswith("raw-"):
        return {DATA + info.name: _port(info) for info in model.manifest.inputs}
    numbers = {DATA + info.name: _port(info) for info in model.manifest.numbers}
    return {f"{DATA}raw": Port(4, "raw", scale=0.5), **numbers}


def mosaic_of(packed: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return planes R, Gr, Gb, B (4, h, w) as a mosaic (1, 1, 2h, 2w) with red first.

    With its defaults for black, white, balance and gain, a file packs the mosaic into these planes again.
    """
    _, height, width = packed.shape
    mosaic = np.empty((1, 1, 2 * height, 2 * width), np.float32)
    for view, plane in zip(planes(mosaic[0, 0]), packed, strict=True):
        view[...] = plane
    return mosaic


def planes_of(mosaic: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a mosaic (1, 1, 2h, 2w) with red first as planes (4, h, w)."""
    return np.stack(planes(mosaic[0, 0]))


def _port(info: TensorInfo) -> Port:
    """Return the port that a tensor of a file was exported from; axes of fixed sizes have lost their names."""
    if info.is_number:
        bounds = (-math.inf if info.low is None else info.low, math.inf if info.high is None else info.high)
        return Port(None, "map", *bounds, axes=(), dtype=info.dtype, default=info.default[0] if info.default else None)
    _, *shape = info.shape
    spatial: dict[int | str, str] = {size: axis for axis, size in SIZES.items()}
    first = "channel" if info.is_spatial else "0"
    names = [spatial.get(size) or (str(place) if place else first) for place, size in enumerate(shape)]
    sizes = {name: size for name, size in zip(names, shape, strict=True) if isinstance(size, int)}
    low, high = info.low or 0.0, 1.0 if info.high is None else info.high
    channels = sizes.pop("channel", None)
    return Port(channels, info.space, low, high, info.scale, tuple(names), sizes, info.dtype)  # type: ignore[arg-type]
