"""The pictures of a run that an int8 file is calibrated on and judged by, and the file itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restore_hub.contracts import Metric
from restore_hub.errors import ExportError
from restore_hub.export import Scores, export_int8
from restore_hub.export.publish import int8_path, plan_of_run
from restore_hub.model.manifest import Manifest
from restore_hub.model.model import Model, load
from restore_hub.photo.raw.mosaic import planes
from restore_hub.plan.lookup import Part
from restore_hub.plan.plan import Plan
from restore_hub.plan.samples import Samples
from restore_hub.plan.splits import check_splits_apart, make_dataset
from restore_hub.registry import Registry
from restore_hub.spec import DATA, HOLDOUT

CALIBRATION = 32  # pictures; ranges of values hardly grow after the first few
TRAIN = "train"

Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Judge:
    """What a chain is calibrated on and judged by.

    Attributes:
        chain: the tensor that the file gives.
        reads: the data tensors that it takes.
        reference: the data tensor that it is compared with.
        metrics: those that can be had from a file, by name, with what each reads.
    """

    chain: str
    reads: tuple[str, ...]
    reference: str
    metrics: Mapping[str, tuple[Part, Metric]]
    calibration: Samples
    holdout: Samples

    def feeds(self, model: Model) -> Iterator[dict[str, NDArray[np.float32]]]:
        """Yield whole pictures of the training split, spread over it, as the file takes them.

        Raises:
            DataError: none can be read.
        """
        count = len(self.calibration)
        for index in np.unique(np.linspace(0, count - 1, min(count, CALIBRATION)).round().astype(int)):
            sample = self.calibration.read(int(index), None)
            if sample is not None:
                yield self._feeds(model, sample)
        if len(self.calibration.left_out) == count:
            raise self.calibration.none_readable()

    def score(self, model: Model) -> Scores:
        """Measure a file on the holdout split, pictures clipped to [0, 1] and rounded to 8 bits, as a run does.

        Raises:
            DataError: no picture can be read.
        """
        psnr: list[float] = []
        values: dict[str, list[float]] = {name: [] for name in self.metrics}
        for index in range(len(self.holdout)):
            sample = self.holdout.read(index, None)
            if sample is None:
                continue
            output = model(self._feeds(model, sample))
            made = planes_of(output) if model.manifest.kind == "raw-to-raw" else output[0]
            tensors = {self.chain: _rounded(made), **{DATA + name: _rounded(array) for name, array in sample.items()}}
            error = float(np.mean((tensors[self.chain] - tensors[self.reference]) ** 2))
            psnr.append(-10 * float(np.log10(max(error, 1e-10))))  # at most 100 dB, of equal pictures
            for name, (part, metric) in self.metrics.items():
                values[name].append(float(metric(**{port: tensors[tensor] for port, tensor in part.inputs.items()})))
        if not psnr:
            raise self.holdout.none_readable()
        return Scores(tuple(psnr), {name: float(np.mean(each)) for name, each in values.items()})

    def _feeds(self, model: Model, sample: Arrays) -> dict[str, NDArray[np.float32]]:
        arrays = {name: sample[name.removeprefix(DATA)] for name in self.reads}
        if model.manifest.kind.startswith("raw-"):
            (planes,) = arrays.values()
            return {"mosaic": mosaic_of(planes)}
        return {name.removeprefix(DATA): np.ascontiguousarray(array[None]) for name, array in arrays.items()}


def open_judge(run: Path, registry: Registry) -> Judge:
    """Open the data of a run folder, as its spec names it.

    Raises:
        ExportError: not a run folder; no chain, no holdout split, no other split, or no metric that compares the chain
            with a picture. SpecError: data that is not there.
    """
    _, plan = plan_of_run(run, registry)
    chain, where = plan.spec.export.chain, f"the spec of {run}"
    if chain is None:
        raise ExportError(f"{where} exports no chain, and int8 is for chains; give it `export: {{chain: …}}`")
    trained = [name for name in plan.datasets if name != HOLDOUT]
    if HOLDOUT not in plan.datasets or not trained:
        raise ExportError(
            f"{where} lacks a split that trains or `{HOLDOUT}`: int8 is calibrated on the one and judged on the other"
        )
    references = [_reference(part, chain) for part in plan.metrics.values()]
    reference = next((tensor for tensor in references if tensor), None)
    if reference is None:
        raise ExportError(
            f"{where} has no metric that compares {chain!r} with a picture of its data, so that nobody can say what "
            "int8 loses; give it `metrics: [psnr]`"
        )
    blocks = plan.graph.upstream([chain])
    read = (
        tensor for block in plan.graph.order if block in blocks for tensor in plan.spec.blocks[block].inputs.values()
    )
    calibration, holdout = (_samples(plan, name) for name in (TRAIN if TRAIN in trained else trained[0], HOLDOUT))
    check_splits_apart({each.name: each.dataset for each in (calibration, holdout)})
    return Judge(
        chain=chain,
        reads=tuple(dict.fromkeys(tensor for tensor in read if tensor.startswith(DATA))),
        reference=reference,
        metrics={
            name: (part, part.make())
            for name, part in plan.metrics.items()
            if all(tensor == chain or tensor.startswith(DATA) for tensor in part.inputs.values())
        },
        calibration=calibration,
        holdout=holdout,
    )


def quantise(source: Path, judge: Judge, budget: float) -> tuple[Path, Manifest]:
    """Write the int8 file of an exported chain beside it; return its path and its manifest.

    Args:
        source: the float32 file.
        judge: the pictures.
        budget: loss of mean PSNR on the holdout split, in dB, that is still published.

    Raises:
        ExportError: it would lose more, or cannot be quantised; DataError: no picture can be read.
    """
    path = int8_path(source)
    calibration = judge.feeds(load(source))
    return path, export_int8(source, path, calibration=calibration, score=judge.score, budget=budget)


def mosaic_of(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return planes R, Gr, Gb, B (4, h, w) as a mosaic (1, 1, 2h, 2w) with red first.

    With the defaults of black, white, balance and gain a file packs it to these planes again: what they were is in
    the planes already.
    """
    _, height, width = planes.shape
    sites = planes.reshape(2, 2, height, width).transpose(2, 0, 3, 1)
    return np.ascontiguousarray(sites.reshape(1, 1, 2 * height, 2 * width))


def planes_of(mosaic: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a mosaic (1, 1, 2h, 2w) with red first as planes (4, h, w)."""
    return np.stack(planes(mosaic[0, 0]))


def _samples(plan: Plan, split: str) -> Samples:
    return Samples(make_dataset(plan, split), split, plan.spec.data[split].strict)


def _reference(part: Part, chain: str) -> str | None:
    """Return the data tensor that a metric compares the chain with, if it does just that."""
    others = [tensor for tensor in part.inputs.values() if tensor != chain]
    return others[0] if len(part.inputs) == 2 and len(others) == 1 and others[0].startswith(DATA) else None


def _rounded(array: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return a picture (C, H, W) as (H, W, C) in [0, 1], rounded to 8 bits."""
    levels = np.round(np.clip(array, 0, 1) * 255).astype(np.float64) / 255
    return np.ascontiguousarray(levels.transpose(1, 2, 0))
