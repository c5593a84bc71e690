"""One stage's solver on its batches, one outer step at a time."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from restore_hub.bilevel import Start
from restore_hub.contracts import Batches, Solver
from restore_hub.errors import BilevelError, RestoreHubError, TrainingError, UnreadableFileError, lacks_memory
from restore_hub.spec import Level, Stage
from restore_hub.train.optimizers import make_optimizer, set_rate
from restore_hub.train.problems.chain import Batch, ChainLevel, ChainPair, pair_of_chain
from restore_hub.train.problems.groups import check_statistics
from restore_hub.train.problems.plugin import ProblemLevel, ProblemPair, pair_of_problem
from restore_hub.train.setup import Setup

SMALLER_PICTURES = "whole pictures of the holdout take more than its steps, use smaller ones"
LESS_MEMORY = "lower `crop`, or `batch_size` with `accumulate` raised, of its splits, or `width` of its blocks"
AUTOCAST = {"float32": None, "bf16": torch.bfloat16}


class Stepper:
    """Steps the blocks of a stage by its solver.

    Args:
        setup: the chain, the objectives and the data.
        index: of the stage.
        carried: `state_dict()` when the stage was left; `None` at its beginning.
    """

    def __init__(self, setup: Setup, index: int, carried: Mapping[str, Any] | None = None) -> None:
        self._stage = setup.plan.spec.stages[index]
        self._device, self._dtype = setup.device, AUTOCAST[setup.plan.spec.precision]
        self._solver: Solver = setup.plan.solvers[index].make()
        self._problem = _problem(setup, self._stage)
        self._optimizers = [make_optimizer(*pair) for pair in _variables(self._stage, self._problem)]
        self._ranks = setup.ranks
        if self._ranks.size > 1:
            _check_ranks(setup, self._stage, self._solver)
        self._state = self._solver.init(self._problem, self._optimizers)
        cold = self._stage.levels[-1].restart == "cold"
        self._start = Start(self._optimizers[1]) if cold else None
        if carried is not None:
            self._state.load_state_dict(carried["solver"])
            if self._start is not None:
                self._start.load_state_dict(carried["start"])
        self._feed = _Feed(setup, self._stage)
        self._blocks, self._checked, self._compared = setup.blocks, False, False

    def look(self) -> None:
        """Read the first batch of each level, and see whether groups can be had, before any stage trains.

        Raises:
            RestoreHubError: data that cannot be read or cropped; a block that groups of a batch cannot pass.
        """
        self._feed.batches(0).lower[0]  # lower batches are made when they are asked for
        if getattr(self._solver, "groups", None) is not None and isinstance(self._problem, ChainPair):
            self._problem.check_groups()

    def step(self, taken: int, done: float) -> dict[str, float]:
        """Take one outer step; return what the solver logs.

        Args:
            taken: outer steps of the stage before this one.
            done: the part of the stage that is done, 0 to 1.

        Raises:
            RestoreHubError: data that cannot be read, or a gradient that is missing or not finite.
            TrainingError: a loss that is not finite.
        """
        for optimizer, level in zip(self._optimizers, self._stage.levels, strict=True):
            set_rate(optimizer, level, taken, done)
        if self._start is not None:
            self._start.restore(self._state)
        before, batches = self._buffers(), self._feed.batches(taken)
        # Without autocast's cache of cast weights, which any solver that steps within would have to clear.
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype is not None, cache_enabled=False):
            self._state, logs = self._solver.step(self._problem, self._state, batches)
        if before is not None:
            self._check_buffers(before)
        if not self._compared:
            self._ranks.check_same(self._blocks.state_dict())
            self._compared = True
        return _finite(logs)

    def _buffers(self) -> dict[str, Tensor] | None:
        """Return copies of the buffers of the stage's blocks before the first step in parts, else nothing."""
        if self._checked or all(level.accumulate == 1 for level in self._stage.levels):
            return None
        self._checked = True
        active = {block for level in self._stage.levels for block in level.blocks}
        buffers = self._blocks.named_buffers()
        return {name: buffer.clone() for name, buffer in buffers if name.partition(".")[0] in active}

    def _check_buffers(self, before: Mapping[str, Tensor]) -> None:
        """Refuse blocks that change as they run, such as running statistics: parts are run twice, one after another."""
        for name, buffer in self._blocks.named_buffers():
            if name in before and not torch.equal(buffer, before[name]):
                raise TrainingError(
                    f"{name} changes each time that its block runs, so that a batch in parts is not the whole batch; "
                    "leave `accumulate` at 1"
                )

    @property
    def data_seconds(self) -> float:
        """Time spent so far on making batches."""
        return self._feed.seconds

    def state_dict(self) -> dict[str, Any]:
        """Return what the solver carries, and where a lower level with cold restarts begins, for a checkpoint."""
        return {"solver": self._state.state_dict(), "start": self._start and self._start.state_dict()}

    def evaluations(self) -> int:
        """Return how many energy gradients one outer step takes."""
        return self._solver.evaluations(self._stage.levels[-1].steps)


@contextlib.contextmanager
def named(place: str, less_memory: str = LESS_MEMORY) -> Iterator[None]:
    """Say where in a run an error was, and what helps against it where that is known.

    Args:
        place: the stage and the step.
        less_memory: what to do where memory does not suffice.

    Raises:
        TrainingError: for any error, those of plugins among them.
    """
    try:
        yield
    except RestoreHubError as error:
        hint = "; `restore-hub data check` looks at all files" if isinstance(error, UnreadableFileError) else ""
        raise TrainingError(f"{place}: {error}{hint}") from error
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        if not isinstance(error, RuntimeError):  # torch's own says what it is: sizes that do not fit, memory
            text = f"{type(error).__name__}: {text}; RESTORE_HUB_TRACEBACK=1 shows where"
        raise TrainingError(f"{place}: {text}{f'; {less_memory}' if lacks_memory(error) else ''}") from error


def _finite(logs: Mapping[str, Tensor | float]) -> dict[str, float]:
    values = {name: float(value) for name, value in logs.items()}
    for name, value in values.items():
        if name.startswith("loss") and not math.isfinite(value):
            raise TrainingError(f"{name} is {value}; lower the learning rate or check the data")
    return values


class _Feed:
    """Hands the solver the batches of each outer step, by the stage's rules.

    A level with `accumulate: n` reads n batches of its split as the parts of one.
    """

    def __init__(self, setup: Setup, stage: Stage) -> None:
        self._device = setup.device
        self._levels = stage.levels
        self._share = stage.share_batch
        # The key names the level's place, not the solver: stages of another solver see the same batches.
        self._streams = [
            setup.stream(level.data, f"level {place} of {len(stage.levels)}, {level.data}")
            for place, level in enumerate(stage.levels)
        ]
        self._parts = [level.accumulate for level in stage.levels]
        self.seconds = 0.0

    def batches(self, step: int) -> Batches:
        if len(self._levels) == 1:
            return Batches(upper=None, lower=[self._batch(0, step)], steps=1)
        lower = self._lower(self._levels[1], step)
        upper = lower[-1] if self._share else self._batch(0, step)
        return Batches(upper=upper, lower=lower, steps=self._levels[1].steps)

    def _lower(self, level: Level, step: int) -> Sequence[Batch]:
        count = level.steps if level.batches == "fresh" else 1
        return _Batches(lambda index: self._batch(1, step * count + index), count)

    def _batch(self, place: int, index: int) -> Batch:
        begun = time.perf_counter()
        stream, parts = self._streams[place], self._parts[place]
        batch = [stream.batch(index * parts + part, self._device) for part in range(parts)]
        self.seconds += time.perf_counter() - begun
        return batch


class _Batches(Sequence[Batch]):
    """The lower batches of an outer step, made when they are asked for; the newest and the last are kept."""

    def __init__(self, make: Callable[[int], Batch], count: int) -> None:
        self._make, self._count = make, count
        self._kept: dict[int, Batch] = {}

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        place = range(self._count)[index]
        if place not in self._kept:
            self._kept = {i: batch for i, batch in self._kept.items() if i == self._count - 1}
            self._kept[place] = self._make(place)
        return self._kept[place]


def _problem(setup: Setup, stage: Stage) -> ChainLevel | ChainPair | ProblemLevel | ProblemPair:
    if setup.problem is not None:
        return pair_of_problem(setup.problem, stage, setup.ranks.reduction)
    assert setup.chain is not None
    return pair_of_chain(setup.chain, setup.objectives, stage, setup.ranks.reduction)


def _check_ranks(setup: Setup, stage: Stage, solver: Solver) -> None:
    """Refuse what several processes cannot train as one does with the whole batch."""
    if not getattr(solver, "parallel", False):
        raise BilevelError(f"the solver {stage.solver!r} runs on one process alone; use another solver, or one process")
    check_statistics(dict(setup.blocks.items()), "and a process has a part of it alone; train on one process")


def _variables(
    stage: Stage, problem: ChainLevel | ChainPair | ProblemLevel | ProblemPair
) -> list[tuple[Level, tuple[Tensor, ...]]]:
    if isinstance(problem, ChainPair | ProblemPair):
        return list(zip(stage.levels, (problem.theta, problem.omega), strict=True))
    return [(stage.levels[0], problem.variables)]
