"""An exported file as what is measured; it needs no PyTorch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.contracts import Port
from restore_hub.evaluate.predictor import Arrays
from restore_hub.model.manifest import TensorInfo
from restore_hub.model.model import Model
from restore_hub.photo.raw.mosaic import planes
from restore_hub.port import PICTURE
from restore_hub.spec import DATA


class FilePredictor:
    """Runs an exported file on the tensors that its chain read in training (`predictor.Predictor`).

    A file that takes a mosaic gets packed RAW planes as one, and a mosaic that comes out is packed into planes.

    Args:
        model: the file.
        output: what the spec calls the tensor that the file gives.
        reads: the data tensors that the chain reads.
    """

    def __init__(self, model: Model, output: str, reads: Sequence[str]) -> None:
        self._model = model
        self._output = output
        self.reads = tuple(reads)
        planes_out = model.manifest.kind == "raw-to-raw"
        self.ports = {output: Port(4, "raw", scale=0.5) if planes_out else _port(model.manifest.outputs[0])}

    def __call__(self, sample: Arrays, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
        """Return the file's output for a sample, if it is wanted."""
        if self._output not in wanted:
            return {}
        output = self._model(self.feeds(sample))
        return {self._output: planes_of(output) if self._model.manifest.kind == "raw-to-raw" else output[0]}

    def feeds(self, sample: Arrays) -> dict[str, NDArray[Any]]:
        """Return a sample as the file takes it."""
        found = {name.removeprefix(DATA): sample[name] for name in self.reads if name in sample}
        taken = {name: np.ascontiguousarray(array[None]) for name, array in found.items()}
        if not self._model.manifest.kind.startswith("raw-"):
            return taken
        (packed,) = (name for name, array in found.items() if array.ndim)  # numbers go beside it
        del taken[packed]
        return {**taken, "mosaic": mosaic_of(found[packed])}


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
    _, *axes = info.shape
    if len(axes) != len(PICTURE):
        return Port(None, "map", axes=tuple(map(str, axes)), dtype=info.dtype)
    channels = axes[0] if isinstance(axes[0], int) else None
    return Port(channels, info.space, dtype=info.dtype)  # type: ignore[arg-type]
