"""One stage's solver on its batches, one outer step at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from restore_hub.bilevel import evaluations
from restore_hub.contracts import Solver
from restore_hub.errors import BilevelError, TrainingError
from restore_hub.spec import level_place
from restore_hub.train.feed import Feed
from restore_hub.train.nesting import make_rung
from restore_hub.train.optimizers import make_optimizer, set_rate
from restore_hub.train.problems.groups import find_batch_norm
from restore_hub.train.problems.pure import check_hooks, check_pure
from restore_hub.train.problems.trainable import by_level, of_stage
from restore_hub.train.setup import Setup

AUTOCAST = {"float32": None, "bf16": torch.bfloat16}


class Stepper:
    """Steps the blocks of a stage with its solver.

    Args:
        setup: what trains, and its data.
        index: of the stage.
        carried: `state_dict()` when the stage was interrupted; `None` at its beginning.
    """

    def __init__(self, setup: Setup, index: int, carried: Mapping[str, Any] | None = None) -> None:
        self._stage = setup.plan.spec.stages[index]
        self._device, self._dtype = setup.device, AUTOCAST[setup.plan.spec.precision]
        self._solvers: list[Solver] = [part.make() for part in setup.plan.solvers[index]]
        self._seen = of_stage(setup.trainable, self._stage, setup.ranks.reduction)
        levels = zip(self._stage.levels, by_level(self._seen), strict=True)
        self._optimizers = [make_optimizer(level, variables) for level, variables in levels]
        self._ranks = setup.ranks
        if self._ranks.size > 1:
            _check_ranks(setup, index, self._solvers)
        self._feed = Feed(setup, self._stage)
        self._rung = make_rung(self._stage, self._seen, self._solvers, self._optimizers, self._feed)
        if carried is not None:
            self._rung.load_state_dict(carried)
        self._trainable, self._blocks = setup.trainable, setup.blocks
        self._checked, self._compared = False, False

    def look(self) -> None:
        """Read the first batch of each level and check gradients and groups, before any stage trains.

        Raises:
            RestoreHubError: data that can't be read or cropped; a block whose gradients would be wrong, or that can't
                run on groups of a batch.
        """
        batches = self._feed.batches(0)
        first = batches.lower[0]  # lower batches are made when they're first read
        if not isinstance(self._seen, Sequence):
            check_hooks(self._seen.names, self._seen.variables, alone=True)
            return
        for place, (pair, solver) in enumerate(zip(self._seen, self._solvers, strict=True)):
            if place > 0:
                batches = self._feed.below(place, first, 0)
                first = batches.lower[0]
            pair.renew(first)
            with self._precision():
                check_pure(self._trainable, self._stage.levels, place, pair, batches)
            if getattr(solver, "groups", None) is not None:
                pair.check_groups()

    def step(self, taken: int, done: float) -> dict[str, float]:
        """Take one outer step; return what the solver logs.

        Args:
            taken: outer steps of the stage before this one.
            done: the part of the stage that is done, 0 to 1.

        Raises:
            RestoreHubError: data that can't be read, or a gradient that is missing or not finite.
            TrainingError: a loss that is not finite.
        """
        for optimizer, level in zip(self._optimizers, self._stage.levels, strict=True):
            set_rate(optimizer, level, taken, done)
        before, batches = self._buffers(), self._feed.batches(taken)
        with self._precision():
            logs = self._rung.step(batches, taken)
        if before is not None:
            self._check_buffers(before)
        if not self._compared:
            self._ranks.check_same(self._blocks.state_dict())
            self._compared = True
        return _finite(logs)

    def _precision(self) -> torch.autocast:
        """Return autocast without its cache of cast weights, which any solver that steps inside would have to clear."""
        return torch.autocast(self._device.type, self._dtype, enabled=self._dtype is not None, cache_enabled=False)

    def _buffers(self) -> dict[str, Tensor] | None:
        """Return copies of the stage's buffers before its first step with batches in parts, else nothing."""
        if self._checked or all(level.accumulate == 1 for level in self._stage.levels):
            return None
        self._checked = True
        active = {block for level in self._stage.levels for block in level.blocks}
        buffers = self._blocks.named_buffers()
        return {name: buffer.clone() for name, buffer in buffers if name.partition(".")[0] in active}

    def _check_buffers(self, before: Mapping[str, Tensor]) -> None:
        """Refuse blocks that change as they run, such as running statistics: each part of a batch runs twice."""
        for name, buffer in self._blocks.named_buffers():
            if name in before and not torch.equal(buffer, before[name]):
                raise TrainingError("train.buffer-changes", name)

    @property
    def data_seconds(self) -> float:
        """Time spent on making batches so far."""
        return self._feed.seconds

    def state_dict(self) -> dict[str, Any]:
        """Return what the solvers carry, and where levels with cold restarts begin, for a checkpoint."""
        return self._rung.state_dict()

    def evaluations(self) -> int:
        """Return how many energy gradients one outer step takes."""
        return evaluations(self._solvers, self._stage.lower_steps)


def _finite(logs: Mapping[str, Tensor | float]) -> dict[str, float]:
    values = {name: float(value) for name, value in logs.items()}
    for name, value in values.items():
        if name.startswith("loss") and not math.isfinite(value):
            raise TrainingError("train.loss-not-finite", name, value=value)
    return values


def _check_ranks(setup: Setup, index: int, solvers: Sequence[Solver]) -> None:
    """Refuse what several processes can't train the way one does on the whole batch."""
    plan = setup.plan
    for place, level in enumerate(plan.spec.stages[index].levels):
        if level.restart == "batch":
            where = level_place(plan.document, index, place)
            raise plan.document.error("train.renewed-on-processes", *where, "restart")
    for part, solver in zip(plan.solvers[index], solvers, strict=True):
        if not getattr(solver, "parallel", False):
            raise part.error("train.solver-not-parallel", "solver", solver=part.component.name)
    found = find_batch_norm(dict(setup.blocks.items()))
    if found:
        raise BilevelError("train.processes-batch-norm", f"block {found.block!r}", layer=found.layer)
