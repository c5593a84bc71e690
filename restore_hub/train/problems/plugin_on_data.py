"""A plugin's problem on the data sets of the spec, as what a run trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_hub.bilevel import ALONE, Reduction
from restore_hub.evaluate.problem import ProblemPredictor
from restore_hub.evaluate.scores import PICTURES_KEPT, Scores, score
from restore_hub.export.runs import Exported, export_problem
from restore_hub.plan.metrics import WiredMetric
from restore_hub.plan.plan import Plan
from restore_hub.plan.problems import first_batch
from restore_hub.plan.samples import Samples
from restore_hub.spec import HOLDOUT, Level
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
