"""How good an exported file is on pictures that have a reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restore_hub.contracts import Metric
from restore_hub.model.model import Model
from restore_hub.photo.raw.mosaic import planes
from restore_hub.plan.lookup import Part
from restore_hub.plan.samples import Samples
from restore_hub.spec import DATA

Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Scores:
    """The PSNR in dB of each picture, and the means of metrics."""

    psnr: tuple[float, ...]
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a file is compared with.

    Attributes:
        output: the tensor that the file gives, as the spec names it.
        reads: the data tensors that it takes.
        reference: the data tensor that it should give.
        metrics: by name, how the spec uses each metric, and the metric.
    """

    output: str
    reads: tuple[str, ...]
    reference: str
    metrics: Mapping[str, tuple[Part, Metric]]

    def feeds(self, model: Model, sample: Arrays) -> dict[str, NDArray[np.float32]]:
        """Return a sample as the file takes it."""
        arrays = {name.removeprefix(DATA): sample[name.removeprefix(DATA)] for name in self.reads}
        if model.manifest.kind.startswith("raw-"):
            (packed,) = arrays.values()
            return {"mosaic": mosaic_of(packed)}
        return {name: np.ascontiguousarray(array[None]) for name, array in arrays.items()}


def score_file(model: Model, samples: Samples, comparison: Comparison) -> Scores:
    """Measure a file on all samples of a split; pictures are clipped to [0, 1] and rounded to 8 bits, as in a run.

    Raises:
        DataError: no picture can be read.
    """
    psnr: list[float] = []
    values: dict[str, list[float]] = {name: [] for name in comparison.metrics}
    for index in range(len(samples)):
        sample = samples.read(index, None)
        if sample is None:
            continue
        output = model(comparison.feeds(model, sample))
        picture = planes_of(output) if model.manifest.kind == "raw-to-raw" else output[0]
        tensors = {DATA + name: _rounded(array) for name, array in sample.items()}
        tensors[comparison.output] = _rounded(picture)
        error = float(np.mean((tensors[comparison.output] - tensors[comparison.reference]) ** 2))
        psnr.append(-10 * float(np.log10(max(error, 1e-10))))  # 100 dB for equal pictures
        for name, (part, metric) in comparison.metrics.items():
            values[name].append(float(metric(**{port: tensors[tensor] for port, tensor in part.inputs.items()})))
    if not psnr:
        raise samples.none_readable()
    return Scores(tuple(psnr), {name: float(np.mean(each)) for name, each in values.items()})


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


def _rounded(array: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return a picture (C, H, W) as (H, W, C) in [0, 1], rounded to 8 bits."""
    levels = np.round(np.clip(array, 0, 1) * 255).astype(np.float64) / 255
    return np.ascontiguousarray(levels.transpose(1, 2, 0))
