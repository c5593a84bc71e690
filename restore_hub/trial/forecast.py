"""Forecasts the time, memory and disk of a run from a few measured steps of each stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from restore_hub.evaluate.scores import PICTURES_KEPT
from restore_hub.machine import free_disk, machine_memory
from restore_hub.plan.plan import make_plan
from restore_hub.plan.shipped import find_spec
from restore_hub.plugins import default_registry
from restore_hub.spec import Spec, Stage, read_spec
from restore_hub.train.error_place import LESS_MEMORY, SMALLER_PICTURES
from restore_hub.train.progress import note
from restore_hub.train.setup import require_stages
from restore_hub.trial.probe_process import measure_in_process
from restore_hub.trial.stage_probe import Measurement, Probe

USABLE = 0.9  # part of the memory; other programs need the rest


@dataclass(frozen=True, slots=True)
class StageForecast:
    """What one stage will take, in seconds.

    Attributes:
        solver: its name in the spec.
        steps: outer steps; `estimated` for a stage limited by `minutes`.
        measurements: how often the holdout is measured, including at the end.
        stepping, measuring: time for the steps, and for measuring the holdout.
        at_most: whether `patience` may end the stage sooner.
        measured: the figures behind the forecast.
    """

    solver: str
    steps: int
    estimated: bool
    measurements: int
    stepping: float
    measuring: float
    at_most: bool
    measured: Measurement


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run will take, not counting its start and its export. Sizes are in bytes.

    Attributes:
        seconds: over all stages.
        memory, machine: peak memory of the host, and the memory there is.
        device_memory, device_total: the same for a CUDA device; 0 without one.
        checkpoints, free: most disk space that checkpoints take during the run, and the free space.
        warnings: what is too small, and what to change.
    """

    name: str
    stages: tuple[StageForecast, ...]
    seconds: float
    memory: int
    machine: int
    device_memory: int
    device_total: int
    checkpoints: int
    free: int
    warnings: tuple[str, ...]


def forecast(
    spec: str | Path,
    *,
    overrides: Sequence[str] = (),
    plugins: Sequence[Path] = (),
    runs: str | Path = "runs",
    device: str = "cpu",
) -> Forecast:
    """Measure a few steps of each stage on its data and forecast the run; write no files, use no tracker.

    Every stage starts from the initial weights, in a process of its own with as many threads as this one.

    Args:
        spec, overrides, plugins, device: as for `restore_hub.run`.
        runs: the folder that the run would be written to.

    Raises:
        RestoreHubError: what a run would raise in its first steps; a TrainingError names the stage.
    """
    plan = make_plan(read_spec(find_spec(Path(spec)), overrides), default_registry(plugins))
    require_stages(plan)
    parsed = plan.spec
    stages = []
    for index, stage in enumerate(parsed.stages):
        label = f"stage {index + 1}/{len(parsed.stages)} {stage.solver}"
        note(f"measuring {label}")
        threads = torch.get_num_threads()
        files = [str(file) for file in plugins]
        probe = Probe(str(spec), overrides, files, device, index, label, threads, holdout=True)
        stages.append(of_stage(stage, parsed.validate_every, measure_in_process(probe)))
    return of_run(parsed, stages, machine_memory(), free_disk(Path(runs)))


def of_stage(stage: Stage, every: int | None, measured: Measurement) -> StageForecast:
    """Return what a stage takes that measures the holdout after `every` so many steps and at its end."""
    once = measured.picture_seconds * measured.pictures
    once += measured.kept_seconds * min(measured.pictures, PICTURES_KEPT)
    if stage.minutes:
        limit = stage.minutes * 60.0
        steps = math.ceil(limit / (measured.step_seconds + (once / every if every else 0.0)))
    else:
        steps = stage.steps or 0
    between = (steps - 1) // every if every and once else 0
    return StageForecast(
        solver=stage.solver,
        steps=steps,
        estimated=stage.minutes is not None,
        measurements=between + 1 if once else 0,
        stepping=max(limit - between * once, 0.0) if stage.minutes else steps * measured.step_seconds,
        measuring=(between + 1) * once,
        at_most=stage.patience is not None,
        measured=measured,
    )


def of_run(spec: Spec, stages: Sequence[StageForecast], machine: int, free: int) -> Forecast:
    """Add up the stages, and compare the sums with what the machine has.

    A run keeps the weights of each stage's end, of `last` and of `best`. There are two copies of the state while a new
    one is being written.
    """
    each = [stage.measured for stage in stages]
    memory, checkpoints = max(m.peak for m in each), 2 * max(m.state_bytes for m in each)
    checkpoints += each[0].weights_bytes * (len(stages) + (2 if spec.metrics else 1))
    warnings = []
    if memory > USABLE * machine:
        number, worst = max(enumerate(each, 1), key=lambda item: item[1].peak)
        mend = SMALLER_PICTURES if worst.peak > 1.1 * worst.memory else LESS_MEMORY
        warnings.append(f"stage {number} {stages[number - 1].solver} may run out of memory: {mend}")
    total = each[0].device_total
    if total and max(m.device_peak for m in each) > USABLE * total:
        number, worst = max(enumerate(each, 1), key=lambda item: item[1].device_peak)
        mend = SMALLER_PICTURES if worst.device_peak > 1.1 * worst.device_memory else LESS_MEMORY
        warnings.append(f"stage {number} {stages[number - 1].solver} may run out of device memory: {mend}")
    if checkpoints > free:
        warnings.append("the disk is too small for the checkpoints: free some space, or choose another with --runs")
    return Forecast(
        name=spec.name,
        stages=tuple(stages),
        seconds=sum(stage.stepping + stage.measuring for stage in stages),
        memory=memory,
        machine=machine,
        device_memory=max(m.device_peak for m in each),
        device_total=total,
        checkpoints=checkpoints,
        free=free,
        warnings=tuple(warnings),
    )
