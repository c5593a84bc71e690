"""A spec and its data as what a solver works on, before the first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from restore_hub.contracts import Metric, Problem
from restore_hub.errors import TrainingError
from restore_hub.plan.chain import Chain, build_chain
from restore_hub.plan.metrics import make_metrics
from restore_hub.plan.objectives import Objectives
from restore_hub.plan.plan import Plan, make_plan
from restore_hub.plan.problems import check_problem, make_problem
from restore_hub.plan.samples import Samples
from restore_hub.plan.shipped import find_spec
from restore_hub.plan.splits import check_splits_apart, make_dataset
from restore_hub.plan.weights import load_block_weights
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from restore_hub.train.batches import Stream
from restore_hub.train.problems.fit import check_fit
from restore_hub.train.problems.plugin import ProblemStream
from restore_hub.train.ranks import Ranks


class Direction(NamedTuple):
    """What is known of a problem's own metric."""

    higher_is_better: bool


@dataclass
class Setup:
    """What training works on: a chain of blocks, or a problem; with its first weights, on `device`.

    Attributes:
        chain: channels last; `None` where the spec has a problem.
        objectives, data: those of the chain; empty without one.
        metrics: what is measured, by name.
        problem: `None` where the spec has a chain.
        ranks: the processes that share each batch.
    """

    plan: Plan
    chain: Chain | None
    objectives: Objectives
    data: Mapping[str, Samples]
    metrics: Mapping[str, Metric | Direction]
    device: torch.device
    plugins: Sequence[Path] = ()
    problem: Problem | None = None
    ranks: Ranks = field(default_factory=Ranks)

    @property
    def blocks(self) -> nn.ModuleDict:
        """What trains, by block."""
        if self.problem is not None:
            return self.problem.blocks
        assert self.chain is not None
        return self.chain.blocks

    def batch_samples(self, split: str) -> int:
        """Return how many samples a batch of a split has, on all processes together."""
        if self.problem is None:
            return self.plan.spec.data[split].batch_size
        return len(next(iter(self.problem.batch(split, 0, 0).values())))

    def stream(self, split: str, key: str) -> Stream | ProblemStream:
        """Return the batches of a split; streams with different keys are independent.

        Raises:
            SpecError: fewer samples in a batch than processes.
        """
        seed, own = self.plan.spec.seed, (self.ranks.rank, self.ranks.size)
        if self.problem is not None:
            return ProblemStream(self.problem, split, seed, key, *own)
        size = self.plan.spec.data[split].batch_size
        if size < self.ranks.size:
            raise self.plan.document.error(
                f"a batch of {size} cannot be shared among {self.ranks.size} processes; set it to {self.ranks.size} or "
                "more, or train with fewer processes",
                *("data", split, "batch_size"),
            )
        return Stream(self.data[split], size, seed, key, *own)


def set_up(
    spec: str | Path, overrides: Sequence[str], plugins: Sequence[Path], device: str, ranks: Ranks | None = None
) -> Setup:
    """Read a spec and make all of its parts but the tracker.

    Sets torch's random seed, and flushing of denormal numbers, for the whole process. Of several processes all begin
    with the same weights, and draw other numbers from then on.

    Raises:
        RestoreHubError: anything that the spec, its data or its weights lack, or a device that is not there.
    """
    plan = make_plan(read_spec(find_spec(Path(spec)), overrides), default_registry(plugins))
    require_stages(plan)
    where = _device(device)
    torch.manual_seed(plan.spec.seed)
    torch.set_flush_denormal(True)  # exp(-x) of edge weights is full of denormals, which are slow
    made = _with_problem(plan, where, plugins) if plan.problem is not None else _with_chain(plan, where, plugins)
    if ranks is not None:
        made.ranks = ranks
        made.ranks.check_same({**made.blocks.state_dict(), **made.objectives.state_dict()})
        if not ranks.first:
            torch.manual_seed(int(np.random.SeedSequence((plan.spec.seed, ranks.rank)).generate_state(1)[0]))
    check_fit(plan, made.batch_samples, made.ranks.size)
    return made


def _with_chain(plan: Plan, where: torch.device, plugins: Sequence[Path]) -> Setup:
    chain = build_chain(plan).to(where).to(memory_format=torch.channels_last)  # what convolutions like best
    load_block_weights(plan, chain)
    datasets = {name: make_dataset(plan, name) for name in plan.datasets}
    check_splits_apart(datasets)
    losses = {name: part.make() for name, part in plan.losses.items()}
    return Setup(
        plan=plan,
        chain=chain,
        objectives=Objectives(losses, {name: part.inputs for name, part in plan.losses.items()}).to(where),
        data={name: Samples(dataset, name, plan.spec.data[name].strict) for name, dataset in datasets.items()},
        metrics=make_metrics(plan),
        device=where,
        plugins=plugins,
    )


def _with_problem(plan: Plan, device: torch.device, plugins: Sequence[Path]) -> Setup:
    problem = make_problem(plan)
    check_problem(plan, problem)
    problem.blocks.to(device)
    metrics = {name: Direction(problem.metrics[name]) for name in plan.spec.metrics}
    return Setup(plan, None, Objectives({}, {}), {}, metrics, device, plugins, problem)


def require_stages(plan: Plan) -> None:
    """Refuse a spec that trains nothing.

    Raises:
        SpecError: it has no stages.
    """
    if not plan.spec.stages:
        raise plan.document.error(
            "it has no `stages`, so there is nothing to train; `restore-hub export` makes ONNX of blocks with `weights`"
        )


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except Exception as error:  # torch raises RuntimeError, AssertionError or its own, by backend
        reason = str(error).splitlines()[0]
        raise TrainingError(
            f"the device {name!r} cannot be used: {reason}; give cpu, or cuda on a machine with one"
        ) from None
    return device
