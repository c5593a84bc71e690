"""Several solvers in the place of a stage's own, on the same first steps."""

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
from restore_hub.trial.probe_process import measure
from restore_hub.trial.stage_probe import Measured, Probe

Written = Mapping[str, Any]  # a stage as the file has it


@dataclass(frozen=True, slots=True)
class Entry:
    """One solver in a stage.

    Attributes:
        solver: qualified name.
        measured: what its steps took; `None` where it was refused.
        ratio: seconds of a step over those of the stage's own solver, or of the fastest where that is not there.
        changed: what the stage has otherwise for it, `lower.steps=1`, `without radius`.
        refused: why it cannot train this stage, or what ended it.
    """

    solver: str
    measured: Measured | None = None
    ratio: float | None = None
    changed: tuple[str, ...] = ()
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Contest:
    """The solvers compared in one bilevel stage: its number from 1, and the solver that the spec gives it."""

    stage: int
    own: str
    entries: tuple[Entry, ...]


def compare_solvers(
    spec: str | Path,
    solvers: Sequence[str],
    *,
    overrides: Sequence[str] = (),
    plugins: Sequence[Path] = (),
    device: str = "cpu",
) -> tuple[Contest, ...]:
    """Take the first steps of each bilevel stage with each solver; write nothing, ask no tracker.

    Each begins from the first weights and sees the same batches, in a process of its own. Options of the stage that a
    solver has not are left out, and one that refuses the stage's lower steps gets one of them.

    Args:
        spec, overrides, plugins, device: as for `restore_hub.run`.
        solvers: their names.

    Raises:
        UnknownComponentError: no solver of that name.
        SpecError: the spec has no bilevel stage.
        RestoreHubError: the first reason, where every solver failed.
    """
    registry = default_registry(plugins)
    named = list(dict.fromkeys(registry.find("solver", name) for name in solvers))
    plan = make_plan(read_spec(find_spec(Path(spec)), overrides), registry)
    bilevel = [index for index, stage in enumerate(plan.spec.stages) if len(stage.levels) == 2]
    if not bilevel:
        raise SpecError(
            f"{plan.document.path}: no stage has an upper and a lower level, so there is nothing to compare"
        )
    files, threads, errors = [str(file) for file in plugins], torch.get_num_threads(), []
    contests = []
    for index in bilevel:
        entries = []
        for solver in named:
            label = f"stage {index + 1}/{len(plan.spec.stages)} {solver.name.removeprefix('std/')}"
            try:
                stage, changed = _fitting(spec, overrides, registry, index, solver)
                note(f"measuring {label}")
                replaced = [*overrides, f"stages.{index}={json.dumps(stage)}"]
                probe = Probe(str(spec), replaced, files, device, index, label, threads, holdout=False)
                entries.append(Entry(solver.name, measure(probe), changed=changed))
            except RestoreHubError as error:
                errors.append(error)
                entries.append(Entry(solver.name, refused=str(error)))
        own = plan.solvers[index].component.name
        contests.append(Contest(index + 1, own, tuple(with_ratios(entries, own))))
    if len(errors) == len(named) * len(bilevel):
        raise errors[0]
    return tuple(contests)


def with_ratios(entries: Sequence[Entry], own: str) -> Iterator[Entry]:
    """Yield the entries, each with its ratio to the stage's own solver, or to the fastest where that is not there."""
    seconds = {entry.solver: entry.measured.step_seconds for entry in entries if entry.measured}
    for entry in entries:
        base = seconds.get(own) or min(seconds.values(), default=0.0)
        yield replace(entry, ratio=seconds[entry.solver] / base) if entry.measured else entry


def _fitting(
    spec: str | Path, overrides: Sequence[str], registry: Registry, index: int, solver: Component
) -> tuple[Written, tuple[str, ...]]:
    """Return a stage with another solver, and what had to change for it.

    Raises:
        SpecError: it refuses the stage.
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


def _variants(stage: Written, solver: Component) -> Iterator[tuple[Written, tuple[str, ...]]]:
    """Yield the stage with another solver, then with one lower step too."""
    options = {option.name for option in options_of(solver.load())}
    kept = {key: value for key, value in stage.items() if key in Stage.reserved_keys() or key in options}
    dropped = tuple(f"without {key}" for key in stage if key not in kept)
    named = {**kept, "solver": solver.name}
    yield named, dropped
    if stage["lower"].get("steps", 1) != 1:
        yield {**named, "lower": {**stage["lower"], "steps": 1}}, (*dropped, "lower.steps=1")
