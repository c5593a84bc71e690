"""One stage's solver on its batches, one outer step at a time."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from restore_hub.contracts import Batches, Solver
from restore_hub.errors import DataError, RestoreHubError, TrainingError
from restore_hub.spec import Level, LowerLevel, Stage
from restore_hub.train.data import Stream
from restore_hub.train.optimizers import make_optimizer, set_rate
from restore_hub.train.problem import Batch, ChainLevel, ChainProblem, problem_of
from restore_hub.train.setup import Setup

LESS_MEMORY = "lower `crop`, or `batch_size` with `accumulate` raised, of its splits, or `width` of its blocks"
AUTOCAST = {"float32": None, "bf16": torch.bfloat16}


class Stepper:
    """Steps the blocks of a stage by its solver.

    Args:
        setup: the chain, the objectives and the data.
        index: of the stage.
        carried: what the solver carried when the stage was left, `state_dict()`; `None` at its beginning.

    Attributes:
        data_seconds: time spent so far on making batches.
    """

    def __init__(self, setup: Setup, index: int, carried: Mapping[str, Any] | None = None) -> None:
        self._stage = setup.plan.spec.stages[index]
        self._device, self._dtype = setup.device, AUTOCAST[setup.plan.spec.precision]
        self._solver: Solver = setup.plan.solvers[index].make()
        self._problem = problem_of(setup.chain, setup.objectives, self._stage)
        self._optimizers = [make_optimizer(*pair) for pair in _variables(self._stage, self._problem)]
        self._state = self._solver.init(self._problem, self._optimizers)
        if carried is not None:
            self._state.load_state_dict(carried)
        self._feed = _Feed(setup, self._stage)
        self.data_seconds = 0.0

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
        begun = time.perf_counter()
        batches = self._feed.batches(taken)
        self.data_seconds += time.perf_counter() - begun
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype is not None):
            self._state, logs = self._solver.step(self._problem, self._state, batches)
        return _finite(logs)

    def state_dict(self) -> dict[str, Any]:
        """Return what the solver carries, for a checkpoint."""
        carried: dict[str, Any] = self._state.state_dict()
        return carried

    def evaluations(self) -> int:
        """Return how many energy gradients one outer step takes."""
        return self._solver.evaluations(self._stage.lower.steps if self._stage.lower else 1)


@contextlib.contextmanager
def named(place: str) -> Iterator[None]:
    """Say where in a run an error was, and what helps against it where that is known.

    Raises:
        TrainingError: for any error of the project, of torch or of the memory.
    """
    try:
        yield
    except RestoreHubError as error:
        hint = "; `restore-hub data check` looks at all files" if isinstance(error, DataError) else ""
        raise TrainingError(f"{place}: {error}{hint}") from error
    except (RuntimeError, MemoryError) as error:  # torch's own: sizes that do not fit, memory
        text = " ".join(str(error).split())[:300] or "out of memory"
        memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text
        raise TrainingError(f"{place}: {text}{f'; {LESS_MEMORY}' if memory else ''}") from error


def _finite(logs: Mapping[str, Tensor]) -> dict[str, float]:
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
        self._lower_level = stage.lower
        self._share = stage.share_batch
        # The key names the level's place, not the solver: stages of another solver see the same batches.
        self._streams: list[Stream] = []
        for place, level in enumerate(stage.levels):
            split = setup.plan.spec.data[level.data]
            key = f"level {place} of {len(stage.levels)}, {level.data}"
            self._streams.append(Stream(setup.data[level.data], split.batch_size, setup.plan.spec.seed, key))
        self._parts = [level.accumulate for level in stage.levels]

    def batches(self, step: int) -> Batches:
        if self._lower_level is None:
            return Batches(upper=None, lower=[self._batch(0, step)], steps=1)
        lower = self._lower(self._lower_level, step)
        upper = lower[-1] if self._share else self._batch(0, step)
        return Batches(upper=upper, lower=lower, steps=self._lower_level.steps)

    def _lower(self, level: LowerLevel, step: int) -> Sequence[Batch]:
        count = level.steps if level.batches == "fresh" else 1
        return [self._batch(1, step * count + i) for i in range(count)]

    def _batch(self, place: int, index: int) -> Batch:
        stream, parts = self._streams[place], self._parts[place]
        return [stream.batch(index * parts + part, self._device) for part in range(parts)]


def _variables(stage: Stage, problem: ChainLevel | ChainProblem) -> list[tuple[Level, tuple[Tensor, ...]]]:
    if isinstance(problem, ChainProblem):
        return list(zip(stage.levels, (problem.theta, problem.omega), strict=True))
    return [(stage.levels[0], problem.variables)]
