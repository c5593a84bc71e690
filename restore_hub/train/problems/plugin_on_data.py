"""A plugin's problem on the data sets of the spec, as what a run trains."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from restore_hub.batch import stacked, wrong
from restore_hub.bilevel import ALONE, Reduction
from restore_hub.contracts import Port, Problem
from restore_hub.errors import TrainingError
from restore_hub.evaluate.chain import evaluation_mode
from restore_hub.evaluate.predictor import Arrays
from restore_hub.evaluate.scores import PICTURES_KEPT, Scores, score
from restore_hub.export.runs import Exported, export_problem
from restore_hub.plan.metrics import WiredMetric
from restore_hub.plan.plan import Plan
from restore_hub.plan.problems import first_batch
from restore_hub.plan.samples import Samples
from restore_hub.spec import DATA, HOLDOUT, Level
from restore_hub.train.problems.plugin import TrainableProblem
from restore_hub.train.problems.plugin_pair import ProblemPair
from restore_hub.train.problems.spec_data import describe, stream_of
from restore_hub.train.problems.trainable import BatchStream, Description
from restore_hub.train.ranks import Ranks


@dataclass
class ProblemOnData(TrainableProblem):
    """A problem whose batches, metrics and pictures come from registered data sets and metrics."""

    plan: Plan
    samples: Mapping[str, Samples]
    wired: Mapping[str, WiredMetric]

    @property
    def data(self) -> Mapping[str, Samples]:
        """The splits of the spec."""
        return self.samples

    def batch_size(self, split: str) -> int:
        """Return the batch size in the spec."""
        return self.plan.spec.data[split].batch_size

    def stream(self, split: str, seed: int, key: str, ranks: Ranks) -> BatchStream:
        """Return the batches of a split.

        Raises:
            SpecError: a batch has fewer samples than there are processes.
        """
        return stream_of(self.plan, self.data, split, seed, key, ranks)

    def of_pair(self, upper: Level, lower: Level, reduction: Reduction = ALONE) -> ProblemPair:
        """Return the variables of two levels and their energies."""
        return ProblemPair(self.problem, upper, lower, reduction, first_batch(self.plan, self.problem, lower.splits[0]))

    def evaluate(self, indices: Sequence[int] | None = None) -> Scores:
        """Measure what the problem restores of the whole samples of the holdout split."""
        predictor = ProblemPredictor(self.problem, self.data[HOLDOUT].dataset.ports)
        return score(predictor, self.data[HOLDOUT], self.wired, indices, PICTURES_KEPT)

    def describe(self) -> Description:
        """Return the sizes of the splits, and the notes of their data sets and of the problem."""
        found = describe(self.data)
        return found._replace(notes=[*found.notes, *getattr(self.problem, "notes", ())])

    def export(self, weights: Path, folder: Path, resolved: Mapping[str, Any]) -> Exported:
        """Write the ONNX files of the networks that the spec names."""
        return export_problem(self.plan, self.problem, weights, folder, resolved)


class ProblemPredictor:
    """Runs a problem's `restore` (`restore_hub.evaluate.predictor.Predictor`).

    Args:
        problem: with `outputs` and `restore`.
        data: the ports of the samples.
    """

    def __init__(self, problem: Problem, data: Mapping[str, Port]) -> None:
        self._problem, self._data = problem, data
        self.ports = problem.outputs
        self.reads = tuple(DATA + name for name in data)

    def __call__(self, sample: Arrays, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
        """Return tensors that the problem makes of a sample.

        Raises:
            TrainingError: it doesn't make one, or not what its port says.
        """
        device = next((p.device for p in self._problem.blocks.parameters()), torch.device("cpu"))
        batch = {
            name: stacked([torch.from_numpy(sample[DATA + name]).to(device)], port) for name, port in self._data.items()
        }
        with evaluation_mode(self._problem.blocks), torch.no_grad():
            made: Any = self._problem.restore(batch)
        if not isinstance(made, Mapping):
            made = {}
        for name in wanted:
            found = wrong(made.get(name), self.ports[name])
            if found:
                place = f"problem.outputs.{name}"
                raise TrainingError("train.not-restored", place, got=found[0], declared=found[1])
        return {name: np.asarray(made[name][0].detach().cpu().numpy()) for name in wanted}
