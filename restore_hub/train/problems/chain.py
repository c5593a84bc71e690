"""A chain of blocks as what a run trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from restore_hub.bilevel import ALONE, Reduction
from restore_hub.evaluate.chain import ChainPredictor
from restore_hub.evaluate.scores import PICTURES_KEPT, Scores, score
from restore_hub.export.runs import Exported, export_checkpoint, modules_of
from restore_hub.plan.chain import Chain, build_chain
from restore_hub.plan.metrics import WiredMetric, make_metrics
from restore_hub.plan.objectives import Objectives
from restore_hub.plan.plan import Plan
from restore_hub.plan.samples import Samples
from restore_hub.plan.weights import load_block_weights
from restore_hub.spec import DATA, HOLDOUT, Level, weights_of
from restore_hub.train.batches import Stream
from restore_hub.train.problems.chain_level import ChainLevel
from restore_hub.train.problems.chain_pair import ChainPair
from restore_hub.train.problems.fit import check_coupling
from restore_hub.train.problems.spec_data import describe, make_data, stream_of
from restore_hub.train.problems.trainable import Description
from restore_hub.train.ranks import Ranks


@dataclass
class TrainableChain:
    """A chain with its losses, data and metrics (`trainable.Trainable`); the chain is channels-last."""

    plan: Plan
    chain: Chain
    objectives: Objectives
    data: Mapping[str, Samples]
    made_metrics: Mapping[str, WiredMetric]

    @property
    def blocks(self) -> nn.ModuleDict:
        """The networks, by block."""
        return self.chain.blocks

    @property
    def metrics(self) -> Mapping[str, bool]:
        """By name, whether higher is better."""
        return {name: wired.metric.higher_is_better for name, wired in self.made_metrics.items()}

    @property
    def fingerprint(self) -> str:
        """Hash of the losses' weights."""
        return self.objectives.fingerprint

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights of blocks and losses."""
        return {**self.blocks.state_dict(), **self.objectives.state_dict()}

    def to(self, dtype: torch.dtype) -> None:
        """Convert the weights of blocks and losses."""
        self.blocks.to(dtype)
        self.objectives.to(dtype)

    def batch_size(self, split: str) -> int:
        """Return the batch size in the spec."""
        return self.plan.spec.data[split].batch_size

    def stream(self, split: str, seed: int, key: str, ranks: Ranks) -> Stream:
        """Return the batches of a split.

        Raises:
            SpecError: a batch has fewer samples than there are processes.
        """
        return stream_of(self.plan, self.data, split, seed, key, ranks)

    def reads(self, level: Level) -> frozenset[str]:
        """Return what the blocks and losses of the level's objective read."""
        tensors = self.objectives.tensors(weights_of(level.objective))
        return frozenset(name.removeprefix(DATA) for name in self.chain.graph.needs(tensors).data)

    def of_level(self, level: Level, reduction: Reduction = ALONE) -> ChainLevel:
        """Return the blocks of one level and their objective."""
        return ChainLevel(self.chain, self.objectives, level, reduction)

    def of_pair(self, upper: Level, lower: Level, reduction: Reduction = ALONE) -> ChainPair:
        """Return the blocks of two levels and their objectives."""
        return ChainPair(self.chain, self.objectives, upper, lower, reduction)

    def evaluate(self, indices: Sequence[int] | None = None) -> Scores:
        """Measure the whole samples of the holdout split."""
        return score(ChainPredictor(self.chain), self.data[HOLDOUT], self.made_metrics, indices, PICTURES_KEPT)

    def describe(self) -> Description:
        """Return the sizes of the splits and the notes of their datasets."""
        return describe(self.data)

    def export(self, weights: Path, folder: Path, resolved: Mapping[str, Any]) -> Exported:
        """Write the ONNX files that the spec names."""
        return export_checkpoint(self.plan, self.chain, weights, folder, resolved)


def make_chain(plan: Plan, device: torch.device) -> TrainableChain:
    """Make the chain of a spec with its first weights, its losses, its metrics and its data.

    Raises:
        SpecError: anything that they lack, a tensor to export that no file can hold, or one without a gradient between
            two levels.
        DataError: data that can't be used.
    """
    chain = build_chain(plan).to(device)
    _lay_channels_last(chain)
    modules_of(plan, chain)  # refuses what no file can hold, before anything trains
    check_coupling(plan, chain)
    load_block_weights(plan, chain)
    data = make_data(plan, chain.data_numbers())
    losses = {name: part.make() for name, part in plan.losses.items()}
    return TrainableChain(
        plan=plan,
        chain=chain,
        objectives=Objectives(losses, {name: part.inputs for name, part in plan.losses.items()}).to(device),
        data=data,
        made_metrics=make_metrics(plan),
    )


def _lay_channels_last(chain: Chain) -> None:
    """Store the weights of 2-D convolutions as these run fastest. `Module.to` would refuse those of 3-D ones."""
    for weights in (*chain.parameters(), *chain.buffers()):
        if weights.ndim == 4:
            weights.data = weights.data.contiguous(memory_format=torch.channels_last)
