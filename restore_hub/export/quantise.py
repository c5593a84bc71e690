"""Quantises the exported chain of a run: one split calibrates it, the holdout judges it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import ExportError
from restore_hub.export.file_scores import Comparison, Scores, score_file
from restore_hub.export.int8_file import export_int8
from restore_hub.export.runs import int8_path, plan_of_run
from restore_hub.model.manifest import Manifest
from restore_hub.model.model import Model, load
from restore_hub.plan.lookup import Part
from restore_hub.plan.plan import Plan
from restore_hub.plan.samples import Samples
from restore_hub.plan.splits import check_splits_apart, make_dataset
from restore_hub.registry import Registry
from restore_hub.spec import DATA, HOLDOUT

CALIBRATION = 32  # pictures; ranges of values hardly grow after the first few
TRAIN = "train"


@dataclass(frozen=True, slots=True)
class Judge:
    """The splits that calibrate and judge an int8 file, and what they compare it with."""

    comparison: Comparison
    calibration: Samples
    holdout: Samples

    def feeds(self, model: Model) -> Iterator[dict[str, NDArray[np.float32]]]:
        """Yield whole pictures, spread over the split that calibrates, as the file takes them.

        Raises:
            DataError: none can be read.
        """
        count = len(self.calibration)
        for index in np.unique(np.linspace(0, count - 1, min(count, CALIBRATION)).round().astype(int)):
            sample = self.calibration.read(int(index), None)
            if sample is not None:
                yield self.comparison.feeds(model, sample)
        if len(self.calibration.left_out) == count:
            raise self.calibration.none_readable()

    def score(self, model: Model) -> Scores:
        """Measure a file on the holdout split."""
        return score_file(model, self.holdout, self.comparison)


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
    comparison = _comparison(plan, chain)
    if comparison is None:
        raise ExportError("export.int8-needs-metric", run, chain=chain)
    calibration, holdout = (_samples(plan, name) for name in (TRAIN if TRAIN in trained else trained[0], HOLDOUT))
    check_splits_apart({each.name: each.dataset for each in (calibration, holdout)})
    return Judge(comparison, calibration, holdout)


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


def _comparison(plan: Plan, chain: str) -> Comparison | None:
    """Return what the exported chain is compared with; `None` without a metric that compares it with a picture."""
    reference = next(filter(None, (_reference(part, chain) for part in plan.metrics.values())), None)
    if reference is None:
        return None
    upstream = plan.graph.upstream([chain])
    blocks = (name for name in plan.graph.order if name in upstream)
    read = (tensor for block in blocks for tensor in plan.spec.blocks[block].tensors.values())
    return Comparison(
        output=chain,
        reads=tuple(dict.fromkeys(tensor for tensor in read if tensor.startswith(DATA))),
        reference=reference,
        metrics={
            name: (part, part.make())
            for name, part in plan.metrics.items()
            if all(tensor == chain or tensor.startswith(DATA) for tensor in part.inputs.values())
        },
    )


def _reference(part: Part, chain: str) -> str | None:
    """Return the data tensor that a metric compares the chain with, if it does just that."""
    others = [tensor for tensor in part.inputs.values() if tensor != chain]
    return others[0] if len(part.inputs) == 2 and len(others) == 1 and others[0].startswith(DATA) else None


def _samples(plan: Plan, split: str) -> Samples:
    return Samples(make_dataset(plan, split), split, plan.spec.data[split].strict)
