"""A plugin's problem as what a run trains."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from restore_hub.batch import Batch
from restore_hub.bilevel import ALONE, Reduction
from restore_hub.contracts import Problem
from restore_hub.errors import DataError, TrainingError
from restore_hub.evaluate.chain import evaluation_mode
from restore_hub.evaluate.scores import Scores
from restore_hub.export.runs import Exported
from restore_hub.plan.problems import fixed_weights
from restore_hub.plan.samples import Samples
from restore_hub.plan.weights import fingerprint, load_checkpoint
from restore_hub.spec import Level
from restore_hub.train.problems.plugin_pair import ProblemLevel, ProblemPair
from restore_hub.train.problems.trainable import BatchStream, Description
from restore_hub.train.ranks import Ranks


class ProblemStream:
    """An endless sequence of batches of a split, as `restore_hub.train.batches.Stream` is for datasets.

    Args:
        problem: makes the batches.
        split: its split.
        seed: of the run.
        key: name of the stream; streams with different keys are independent.
        rank, ranks: number of this process, and of all; each gets its share of every batch, in order.
    """

    def __init__(self, problem: Problem, split: str, seed: int, key: str, rank: int = 0, ranks: int = 1) -> None:
        self._problem, self._split, self._rank, self._ranks = problem, split, rank, ranks
        self._seed = int(np.random.SeedSequence((seed, zlib.crc32(key.encode()))).generate_state(1, np.uint64)[0])

    def batch(self, index: int) -> Batch:
        """Return batch number `index`, or this process's share of it.

        Raises:
            DataError: fewer samples than processes.
        """
        batch = Batch(self._problem.batch(self._split, self._seed, index))
        if self._ranks == 1:
            return batch
        if len(batch) < self._ranks:
            raise DataError(
                "train.batch-below-processes", f"split {self._split!r}", samples=len(batch), processes=self._ranks
            )
        start, end = (len(batch) * rank // self._ranks for rank in (self._rank, self._rank + 1))
        return batch.split([start, end - start, len(batch) - end])[1]


@dataclass
class TrainableProblem:
    """A problem of a plugin (`trainable.Trainable`); it reads no files of its own accord and exports none."""

    problem: Problem
    metrics: Mapping[str, bool]
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        self.fingerprint = fingerprint(fixed_weights(self.problem))

    @property
    def blocks(self) -> nn.ModuleDict:
        """The blocks of variables."""
        return self.problem.blocks

    @property
    def data(self) -> Mapping[str, Samples]:
        """Empty: a problem makes its batches itself."""
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        """Return all variables."""
        return self.blocks.state_dict()

    def to(self, dtype: torch.dtype) -> None:
        """Convert the variables."""
        self.blocks.to(dtype)

    def batch_size(self, split: str) -> int:
        """Return the number of samples in the first batch of a split."""
        return len(Batch(self.problem.batch(split, 0, 0)))

    def stream(self, split: str, seed: int, key: str, ranks: Ranks) -> BatchStream:
        """Return the batches of a split."""
        return ProblemStream(self.problem, split, seed, key, ranks.rank, ranks.size)

    def reads(self, level: Level) -> frozenset[str]:  # noqa: ARG002  energies say nothing about what they read
        """Return nothing: an energy may read all that is in a batch."""
        return frozenset()

    def of_level(self, level: Level, reduction: Reduction = ALONE) -> ProblemLevel:
        """Return the variables of one level and their energy."""
        return ProblemLevel(self.problem, level, reduction)

    def of_pair(self, upper: Level, lower: Level, reduction: Reduction = ALONE) -> ProblemPair:
        """Return the variables of two levels and their energies."""
        return ProblemPair(self.problem, upper, lower, reduction)

    def evaluate(self, indices: Sequence[int] | None = None) -> Scores:  # noqa: ARG002  it has no samples of files
        """Return the problem's own metrics.

        Raises:
            TrainingError: the problem returns no value of a metric.
        """
        with evaluation_mode(self.blocks), torch.no_grad():
            found = self.problem.measure()
        for name in self.metrics:
            if name not in found:
                raise TrainingError("train.metric-missing", f"metric {name!r}")
        return Scores({name: float(found[name]) for name in self.metrics})

    def describe(self) -> Description:
        """Return the sizes of the splits and the problem's notes."""
        notes = list(getattr(self.problem, "notes", ()))
        return Description(
            {name: {"samples": size, "notes": notes} for name, size in self.problem.splits.items()}, notes
        )

    def export(self, weights: Path, folder: Path, resolved: Mapping[str, Any]) -> Exported:  # noqa: ARG002
        """Load the checkpoint and return what it reached; there are no files to export."""
        about = load_checkpoint(self.blocks, weights)
        return Exported((), about["step"], about["holdout"])
