"""Compares solvers on the first steps of a stage."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from restore_hub.errors import RestoreHubError, SpecError
from restore_hub.options import options_of
from restore_hub.plan.plan import make_plan
from restore_hub.plan.shipped import find_spec
from restore_hub.plugins import default_registry
from restore_hub.registry import Component, Registry
from restore_hub.spec import Stage, read_spec
from restore_hub.train.progress import note
from restore_hub.trial.probe_process import measure_in_process
from restore_hub.trial.stage_probe import Measurement, Probe

WrittenStage = Mapping[str, Any]  # a stage as it stands in the file


@dataclass(frozen=True, slots=True)
class SolverResult:
    """One solver in a stage.

    Attributes:
        solver: qualified name.
        measured: what its steps took; `None` if it was refused.
        ratio: seconds a step over those of the stage's current solver, or of the fastest if that one isn't compared.
        changed: what had to change in the stage, such as `lower.steps=1` or `without radius`.
        refused: why it can't train this stage, or what ended it.
    """

    solver: str
    measured: Measurement | None = None
    ratio: float | None = None
    changed: tuple[str, ...] = ()
    refused: str = ""


@dataclass(frozen=True, slots=True)
class StageComparison:
    """The solvers compared in one bilevel stage: its number, from 1, and the solver that the spec gives it."""

    stage: int
    current: str
    results: tuple[SolverResult, ...]


def compare_solvers(
    spec: str | Path,
    solvers: Sequence[str],
    *,
    overrides: Sequence[str] = (),
    plugins: Sequence[Path] = (),
    device: str = "cpu",
) -> tuple[StageComparison, ...]:
    """Take the first steps of each bilevel stage with each solver; write no files, use no tracker.

    Each solver starts from the initial weights and sees the same batches, in a process of its own. Options of the
    stage that a solver doesn't have are left out; a solver that refuses the stage's lower steps takes one instead.

    Args:
        spec, overrides, plugins, device: as for `restore_hub.run`.
        solvers: names of solvers.

    Raises:
        UnknownComponentError: no solver has that name.
        SpecError: the spec has no bilevel stage.
        RestoreHubError: every solver failed; this is the first one's error.
    """
    registry = default_registry(plugins)
    named = list(dict.fromkeys(registry.find("solver", name) for name in solvers))
    plan = make_plan(read_spec(find_spec(Path(spec)), overrides), registry)
    bilevel = [index for index, stage in enumerate(plan.spec.stages) if len(stage.levels) == 2]
    if not bilevel:
        raise SpecError("trial.no-bilevel-stage", plan.document.path)
    files, threads, errors = [str(file) for file in plugins], torch.get_num_threads(), []
    comparisons = []
    for index in bilevel:
        results = []
        for solver in named:
            label = f"stage {index + 1}/{len(plan.spec.stages)} {solver.name.removeprefix('std/')}"
            try:
                stage, changed = _fitting(spec, overrides, registry, index, solver)
                note(f"measuring {label}")
                replaced = [*overrides, f"stages.{index}={json.dumps(stage)}"]
                probe = Probe(str(spec), replaced, files, device, index, label, threads, holdout=False)
                results.append(SolverResult(solver.name, measure_in_process(probe), changed=changed))
            except RestoreHubError as error:
                errors.append(error)
                results.append(SolverResult(solver.name, refused=str(error)))
        current = plan.solvers[index][0].component.name
        comparisons.append(StageComparison(index + 1, current, tuple(with_ratios(results, current))))
    if len(errors) == len(named) * len(bilevel):
        raise errors[0]
    return tuple(comparisons)


def with_ratios(results: Sequence[SolverResult], current: str) -> Iterator[SolverResult]:
    """Yield the results, each with its ratio to the current solver, or to the fastest if that one isn't there."""
    seconds = {result.solver: result.measured.step_seconds for result in results if result.measured}
    for result in results:
        base = seconds.get(current) or min(seconds.values(), default=0.0)
        yield replace(result, ratio=seconds[result.solver] / base) if result.measured else result


def _fitting(
    spec: str | Path, overrides: Sequence[str], registry: Registry, index: int, solver: Component
) -> tuple[WrittenStage, tuple[str, ...]]:
    """Return a stage with another solver, and what had to change.

    Raises:
        SpecError: the solver refuses the stage.
    """
    refused: list[SpecError] = []
    stages = read_spec(find_spec(Path(spec)), overrides).data["stages"]
    for stage, changed in _variants(stages[index], solver):
        document = read_spec(find_spec(Path(spec)), overrides)
        document.data["stages"][index] = stage
        try:
            make_plan(document, registry)
        except SpecError as error:
            refused.append(error)
        else:
            return stage, changed
    raise refused[0]


def _variants(stage: WrittenStage, solver: Component) -> Iterator[tuple[WrittenStage, tuple[str, ...]]]:
    """Yield the stage with another solver, then the same with one lower step."""
    options = {option.name for option in options_of(solver.load())}
    kept = {key: value for key, value in stage.items() if key in Stage.reserved_keys() or key in options}
    dropped = tuple(f"without {key}" for key in stage if key not in kept)
    named = {**kept, "solver": solver.name}
    yield named, dropped
    if stage["lower"].get("steps", 1) != 1:
        yield {**named, "lower": {**stage["lower"], "steps": 1}}, (*dropped, "lower.steps=1")
