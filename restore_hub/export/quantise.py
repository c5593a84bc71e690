"""Quantises the exported chain of a run: one split calibrates it, the holdout judges it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restore_hub.contracts import Port
from restore_hub.errors import ExportError
from restore_hub.evaluate.file import FilePredictor
from restore_hub.evaluate.scores import Scores, score
from restore_hub.export.int8_file import PSNR, export_int8
from restore_hub.export.runs import int8_path
from restore_hub.model.manifest import Manifest
from restore_hub.model.model import Model, load
from restore_hub.plan.lookup import Part
from restore_hub.plan.metrics import WiredMetric, make_metrics
from restore_hub.plan.plan import Plan
from restore_hub.plan.run_folder import plan_of_run
from restore_hub.plan.samples import Samples
from restore_hub.plan.splits import check_splits_apart, make_dataset
from restore_hub.registry import Registry
from restore_hub.spec import DATA, HOLDOUT

CALIBRATION = 32  # pictures; ranges of values hardly grow after the first few
TRAIN = "train"


class CappedPsnr:
    """Peak signal-to-noise ratio in dB, 100 for equal pictures, so that differences are finite."""

    higher_is_better = True

    def __call__(self, prediction: NDArray[np.float64], target: NDArray[np.float64]) -> float:
        """Return the ratio of two pictures."""
        return -10 * float(np.log10(max(float(np.mean((prediction - target) ** 2)), 1e-10)))


@dataclass(frozen=True, slots=True)
class Judge:
    """The splits that calibrate and judge an int8 file, and what measures it.

    Attributes:
        output: the tensor that the file gives, as the spec names it.
        reads: the data tensors that it takes.
        metrics: by name, with `PSNR` among them.
        calibration, holdout: the splits.
    """

    output: str
    reads: tuple[str, ...]
    metrics: Mapping[str, WiredMetric]
    calibration: Samples
    holdout: Samples

    def feeds(self, model: Model) -> Iterator[dict[str, NDArray[np.float32]]]:
        """Yield whole pictures, spread over the split that calibrates, as the file takes them.

        Raises:
            DataError: none can be read.
        """
        predictor, count = self._predictor(model), len(self.calibration)
        for index in np.unique(np.linspace(0, count - 1, min(count, CALIBRATION)).round().astype(int)):
            sample = self.calibration.read(int(index), None)
            if sample is not None:
                yield predictor.feeds({DATA + name: array for name, array in sample.items()})
        if len(self.calibration.left_out) == count:
            raise self.calibration.none_readable()

    def score(self, model: Model) -> Scores:
        """Measure a file on the holdout split."""
        return score(self._predictor(model), self.holdout, self.metrics)

    def _predictor(self, model: Model) -> FilePredictor:
        return FilePredictor(model, self.output, self.reads)


def open_judge(run: Path, registry: Registry) -> Judge:
    """Open the data of a run folder, as its spec names it.

    Raises:
        ExportError: not a run folder; no chain, no holdout split, no other split, or no metric that compares the chain
            with a picture. SpecError: data that isn't there.
    """
    _, plan = plan_of_run(run, registry)
    chain = plan.spec.export.chain
    if chain is None:
        raise ExportError("export.int8-needs-chain", run)
    trained = [name for name in plan.datasets if name != HOLDOUT]
    if HOLDOUT not in plan.datasets or not trained:
        raise ExportError("export.int8-needs-splits", run)
    reference = next(filter(None, (_reference(plan, part, chain) for part in plan.metrics.values())), None)
    if reference is None:
        raise ExportError("export.int8-needs-metric", run, chain=chain)
    calibration, holdout = (_samples(plan, name) for name in (TRAIN if TRAIN in trained else trained[0], HOLDOUT))
    check_splits_apart({each.name: each.dataset for each in (calibration, holdout)})
    metrics = {
        name: wired
        for name, wired in make_metrics(plan).items()
        if all(tensor == chain or tensor.startswith(DATA) for tensor in wired.inputs.values())
    }
    psnr = WiredMetric(CappedPsnr(), {"prediction": chain, "target": reference})
    return Judge(chain, _reads(plan, chain), {**metrics, PSNR: psnr}, calibration, holdout)


def quantise(source: Path, judge: Judge, budget: float) -> tuple[Path, Manifest]:
    """Write the int8 file of an exported chain beside it; return its path and its manifest.

    Args:
        source: the float32 file.
        judge: the pictures.
        budget: largest loss of mean PSNR on the holdout split, in dB.

    Raises:
        ExportError: it would lose more, or can't be quantised. DataError: no picture can be read.
    """
    path = int8_path(source)
    calibration = judge.feeds(load(source))
    return path, export_int8(source, path, calibration=calibration, score=judge.score, budget=budget)


def _reference(plan: Plan, part: Part, chain: str) -> str | None:
    """Return the picture of the data that a metric compares the chain with, if it does just that."""
    others = [tensor for tensor in part.inputs.values() if tensor != chain]
    if len(part.inputs) != 2 or len(others) != 1 or not others[0].startswith(DATA):
        return None
    port: Port = plan.datasets[HOLDOUT].target.ports[others[0].removeprefix(DATA)]
    return others[0] if port.is_picture else None


def _reads(plan: Plan, chain: str) -> tuple[str, ...]:
    """Return the data tensors that a chain reads, in its order."""
    blocks = plan.graph.needs([chain]).blocks
    read = (tensor for block in blocks for tensor in plan.spec.blocks[block].tensors.values())
    return tuple(dict.fromkeys(tensor for tensor in read if tensor.startswith(DATA)))


def _samples(plan: Plan, split: str) -> Samples:
    return Samples(make_dataset(plan, split), split, plan.spec.data[split].strict)
