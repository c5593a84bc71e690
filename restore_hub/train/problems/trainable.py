"""What a run trains, whether a chain of blocks or a plugin's problem: the one way through for both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from restore_hub.batch import Batch
from restore_hub.bilevel import ALONE, Reduction
from restore_hub.contracts import GroupedPair, SingleLevel
from restore_hub.evaluate.scores import Scores
from restore_hub.export.runs import Exported
from restore_hub.plan.samples import Samples
from restore_hub.spec import Level, Stage
from restore_hub.train.ranks import Ranks


class BatchStream(Protocol):
    """An endless sequence of batches, each a function of its index."""

    def batch(self, index: int) -> Batch:
        """Return batch number `index`, or this process's part of it, on the CPU."""
        ...


class StagePair(GroupedPair, Protocol):
    """Two adjacent levels of a stage."""

    def set_others(self, values: Mapping[str, Tensor]) -> None:
        """Use values for variables of other levels, by block and name, in place of the live ones."""
        ...

    def renew(self, batch: Batch) -> None:
        """Make the lower variables anew from a batch, if that is where they come from."""
        ...

    def check_groups(self) -> None:
        """Raise BilevelError if the lower energy of these blocks isn't a sum over groups of samples."""
        ...


class Description(NamedTuple):
    """What there is to train on.

    Attributes:
        splits: for each split, the number of `samples` and the `notes` on it.
        notes: the lines to print, one for each note.
    """

    splits: Mapping[str, Mapping[str, Any]]
    notes: Sequence[str]


class Trainable(Protocol):
    """Blocks of variables, the energies and data that train them, and what becomes of the result."""

    @property
    def blocks(self) -> nn.ModuleDict:
        """What trains, by name."""
        ...

    @property
    def metrics(self) -> Mapping[str, bool]:
        """By name, whether higher is better; in the order of the spec."""
        ...

    @property
    def data(self) -> Mapping[str, Samples]:
        """The splits that are read from files; samples that can't be read may be left out of them."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of the weights that don't train, such as those of losses; empty if there are none."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Return all weights, those of the losses included."""
        ...

    def to(self, dtype: torch.dtype) -> None:
        """Convert all floating-point weights, those of the losses included."""
        ...

    def batch_size(self, split: str) -> int:
        """Return the number of samples in a batch of a split, over all processes together."""
        ...

    def stream(self, split: str, seed: int, key: str, ranks: Ranks) -> BatchStream:
        """Return the batches of a split; streams with different keys are independent.

        Raises:
            SpecError: a batch has fewer samples than there are processes.
        """
        ...

    def reads(self, level: Level) -> frozenset[str]:
        """Return the names of the values that a level needs from a batch; empty for all of them."""
        ...

    def of_level(self, level: Level, reduction: Reduction = ALONE) -> SingleLevel:
        """Return what a solver of one level sees."""
        ...

    def of_pair(self, upper: Level, lower: Level, reduction: Reduction = ALONE) -> StagePair:
        """Return what a solver of two levels sees; other blocks stay as they are."""
        ...

    def evaluate(self, indices: Sequence[int] | None = None) -> Scores:
        """Compute the metrics in evaluation mode.

        Args:
            indices: of the samples of the holdout split to use, where there is one; all by default. A part of them
                takes its time, and has no means.

        Raises:
            DataError: no sample can be read. TrainingError: a metric fails or is missing.
        """
        ...

    def describe(self) -> Description:
        """Return the sizes of the splits and the notes on them."""
        ...

    def export(self, weights: Path, folder: Path, resolved: Mapping[str, Any]) -> Exported:
        """Load a checkpoint of the run and export what can be exported; a problem has no files to export.

        Args:
            weights: the checkpoint.
            folder: where the files go.
            resolved: the resolved spec, for the files' provenance.
        """
        ...


def train_only(blocks: nn.ModuleDict, stage: Stage) -> None:
    """Put the blocks of a stage's levels into training mode, and all others into evaluation mode."""
    active = {name for level in stage.levels for name in level.blocks}
    for name, block in blocks.items():
        block.train(name in active)


def parameters_of(blocks: nn.ModuleDict, names: Sequence[str]) -> tuple[tuple[str, ...], tuple[Tensor, ...]]:
    """Return the names and tensors of some blocks' trainable parameters; one that blocks share comes once."""
    named: dict[Tensor, str] = {}
    for block in names:
        for key, parameter in blocks[block].named_parameters():
            if parameter.requires_grad:  # what a network froze itself stays frozen
                named.setdefault(parameter, f"{block}.{key}")
    return tuple(named.values()), tuple(named)


def of_stage(trainable: Trainable, stage: Stage, reduction: Reduction = ALONE) -> list[StagePair] | SingleLevel:
    """Return what `pairs_of` does, or the only level."""
    return pairs_of(trainable, stage, reduction) or trainable.of_level(stage.levels[0], reduction)


def pairs_of(trainable: Trainable, stage: Stage, reduction: Reduction = ALONE) -> list[StagePair]:
    """Return each pair of adjacent levels, upper first; put only the blocks of the levels into training mode."""
    train_only(trainable.blocks, stage)
    return [trainable.of_pair(upper, lower, reduction) for upper, lower in pairwise(stage.levels)]


def by_level(seen: Sequence[StagePair] | SingleLevel) -> list[tuple[Tensor, ...]]:
    """Return the variables of each level, upper first, given what `of_stage` returns."""
    if not isinstance(seen, Sequence):
        return [seen.variables]
    return [*(pair.theta for pair in seen), seen[-1].omega]


def live_levels(trainable: Trainable, levels: Sequence[Level], pair: StagePair) -> list[SingleLevel]:
    """Return the levels of a pair each by itself, with energies at the live variables, those of no block included."""
    found: list[Any] = [trainable.of_level(level) for level in levels]
    if levels[1].restart == "batch":
        for each in found:
            each.set_others(dict(zip(pair.omega_names, pair.omega, strict=True)))
    return found


def by_block(values: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return values by block and name, given those by `block.name`."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in values.items():
        block, _, name = key.partition(".")
        found.setdefault(block, {})[name] = value
    return found
