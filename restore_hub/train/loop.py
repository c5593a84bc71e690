"""The stage loop: batches to a solver, its values to the record, the holdout measured now and then."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from restore_hub.contracts import Batches, Metric, Solver
from restore_hub.errors import DataError, RestoreHubError, TrainingError
from restore_hub.plan.chain import Chain
from restore_hub.plan.objectives import Objectives
from restore_hub.plan.parts import Plan
from restore_hub.spec import HOLDOUT, Level, LowerLevel, Stage
from restore_hub.train.checkpoint import Position, save_state
from restore_hub.train.data import Samples, Stream
from restore_hub.train.optimizers import make_optimizer, set_rate
from restore_hub.train.problem import ChainLevel, ChainProblem, problem_of
from restore_hub.train.progress import Progress, note
from restore_hub.train.record import Record
from restore_hub.train.stopping import StopRequest
from restore_hub.train.validate import better, validate


@dataclass(frozen=True, slots=True)
class StageResult:
    """What one stage took and reached.

    Attributes:
        solver: its name in the spec.
        steps, seconds: outer steps, and how long they took.
        evaluations: energy gradients taken, forward and backward.
        metrics: holdout means at its end.
    """

    solver: str
    steps: int
    seconds: float
    evaluations: int
    metrics: Mapping[str, float]


@dataclass
class Run:
    """What the stages of one run share.

    Attributes:
        step: outer steps over all stages.
        best: best mean of the first metric so far.
        stale: measurements since then.
    """

    plan: Plan
    chain: Chain
    objectives: Objectives
    data: Mapping[str, Samples]
    metrics: Mapping[str, Metric]
    record: Record
    device: torch.device
    stop: StopRequest = field(default_factory=StopRequest)
    step: int = 0
    best: float | None = None
    stale: int = 0
    stages: list[StageResult] = field(default_factory=list)


def run_stages(run: Run, start: Position) -> None:
    """Run the stages that are left, from a position on.

    Raises:
        TrainingError: as `run_stage`. KeyboardInterrupt: somebody asked to stop; the state is saved.
    """
    for index in range(start.stage, len(run.plan.spec.stages)):
        run_stage(run, index, start if index == start.stage else Position(index))
        save_state(run, Position(index + 1))
        run.record.folder.write_json("stages.json", [asdict(stage) for stage in run.stages])


def run_stage(run: Run, index: int, start: Position) -> None:
    """Run one stage to its end and validate.

    Raises:
        KeyboardInterrupt: somebody asked to stop.
        TrainingError: a loss or gradient that is not finite, or that is missing; names stage, step and tensor.
            The last checkpoint is left as it was.
    """
    stage = run.plan.spec.stages[index]
    label = f"stage {index + 1}/{len(run.plan.spec.stages)} {stage.solver}"
    solver: Solver = run.plan.solvers[index].make()
    problem = problem_of(run.chain, run.objectives, stage)
    optimizers = [make_optimizer(level, tensors) for level, tensors in _variables(stage, problem)]
    state = solver.init(problem, optimizers)
    if start.solver is not None:
        state.load_state_dict(start.solver)
    feed = _Feed(run, stage)
    begun, step, saved = time.monotonic() - start.seconds, start.step, time.monotonic()
    run.stale = run.stale if step else 0
    total, unit = (stage.minutes * 60.0, "s") if stage.minutes else (float(stage.steps or 0), "step")
    with Progress(label, total, unit) as progress:
        done = start.seconds if stage.minutes else float(step)
        while done < total:
            for optimizer, level in zip(optimizers, stage.levels, strict=True):
                set_rate(optimizer, level, step, min(done / total, 1.0))
            with _named(f"{label}, step {step + 1}"):
                state, logs = solver.step(problem, state, feed.batches(step))
            step += 1
            run.step += 1
            values = _finite(logs, label, step)
            run.record.values(run.step, values)
            done = time.monotonic() - begun if stage.minutes else float(step)
            progress.update(done, {name: value for name, value in values.items() if name.startswith("loss")})
            every = run.plan.spec.validate_every
            if every and step % every == 0 and done < total:
                metrics = _measure(run)
                if stage.patience and run.stale >= stage.patience:
                    note(f"{label}: ends at step {step}, since {run.stale} measurements brought nothing better")
                    seconds = time.monotonic() - begun
                    break
            if run.stop.asked or time.monotonic() - saved >= run.plan.spec.checkpoint_seconds:
                save_state(run, Position(index, step, time.monotonic() - begun, state.state_dict()))
                saved = time.monotonic()
            if run.stop.asked:
                raise KeyboardInterrupt
        else:
            seconds = time.monotonic() - begun
            metrics = _measure(run)
        run.record.folder.save_weights(f"stage-{index + 1}", run.chain.blocks, {"step": run.step, "holdout": metrics})
        evaluations = step * solver.evaluations(stage.lower.steps if stage.lower else 1)
        run.stages.append(StageResult(stage.solver, step, seconds, evaluations, metrics))


@contextlib.contextmanager
def _named(place: str) -> Iterator[None]:
    """Say in which stage and step an error was."""
    try:
        yield
    except RestoreHubError as error:
        hint = "; `restore-hub data check` looks at all files" if isinstance(error, DataError) else ""
        raise TrainingError(f"{place}: {error}{hint}") from error
    except RuntimeError as error:  # torch's own: sizes that do not fit, memory
        raise TrainingError(f"{place}: {' '.join(str(error).split())[:300]}") from error


def _finite(logs: Mapping[str, Tensor], label: str, step: int) -> dict[str, float]:
    values = {name: float(value) for name, value in logs.items()}
    for name, value in values.items():
        if name.startswith("loss") and not math.isfinite(value):
            raise TrainingError(f"{label}, step {step}: {name} is {value}; lower the learning rate or check the data")
    return values


def _measure(run: Run) -> dict[str, float]:
    """Measure the holdout split, keep the weights, and the best ones by the first metric; return the means."""
    means: dict[str, float] = {}
    if run.metrics:
        found = validate(run.chain, run.plan.metrics, run.metrics, run.data[HOLDOUT])
        means = dict(found.means)
        run.record.values(run.step, {f"holdout/{name}": value for name, value in means.items()})
        for name, image in found.pictures.items():
            run.record.picture(name, image, run.step)
        left_out = len(run.data[HOLDOUT].left_out)
        without = f"  (without {left_out} of {len(run.data[HOLDOUT])} pictures, left out)" if left_out else ""
        values = "  ".join(f"{name} {value:.4g}" for name, value in means.items())
        note(f"step {run.step}: holdout {values}{without}")
    about: dict[str, Any] = {"step": run.step, "holdout": means}
    run.stale += 1
    first = next(iter(run.metrics), None)
    if first is not None and better(run.metrics[first], means[first], run.best):
        run.best, run.stale = means[first], 0
        run.record.folder.save_weights("best", run.chain.blocks, about)
    run.record.folder.save_weights("last", run.chain.blocks, about)
    return means


class _Feed:
    """Hands the solver the batches of each outer step, by the stage's rules."""

    def __init__(self, run: Run, stage: Stage) -> None:
        self._device = run.device
        self._lower_level = stage.lower
        self._share = stage.share_batch
        # The key names the level's place, not the solver: stages of another solver see the same batches.
        self._streams = []
        for place, level in enumerate(stage.levels):
            split = run.plan.spec.data[level.data]
            key = f"level {place} of {len(stage.levels)}, {level.data}"
            self._streams.append(Stream(run.data[level.data], split.batch_size, run.plan.spec.seed, key))

    def batches(self, step: int) -> Batches:
        if self._lower_level is None:
            return Batches(upper=None, lower=[self._streams[0].batch(step, self._device)], steps=1)
        lower = self._lower(self._lower_level, step)
        upper = lower[-1] if self._share else self._streams[0].batch(step, self._device)
        return Batches(upper=upper, lower=lower, steps=self._lower_level.steps)

    def _lower(self, level: LowerLevel, step: int) -> Sequence[dict[str, Tensor]]:
        count = level.steps if level.batches == "fresh" else 1
        return [self._streams[1].batch(step * count + i, self._device) for i in range(count)]


def _variables(stage: Stage, problem: ChainLevel | ChainProblem) -> list[tuple[Level, tuple[Tensor, ...]]]:
    if isinstance(problem, ChainProblem):
        return list(zip(stage.levels, (problem.theta, problem.omega), strict=True))
    return [(stage.levels[0], problem.variables)]
