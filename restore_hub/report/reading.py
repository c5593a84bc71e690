"""What lies in the folder of a run, read without PyTorch; a piece that is missing or damaged is said, not fatal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from restore_hub.errors import DataError
from restore_hub.report.chart import Mark, Values

HOLDOUT = "holdout/"


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage as far as it came.

    Attributes:
        first, last: it made the steps after `first`, up to `last`, counted over all stages.
        limit: what the spec gives it, such as `60 steps`.
        seconds: of training; `None` where it is not recorded, as of a stage that did not end.
        evaluations: energy gradients taken; `None` where it is not recorded.
        ended: whether it came to its end.
    """

    number: int
    solver: str
    first: int
    last: int
    limit: str
    seconds: float | None
    evaluations: int | None
    ended: bool

    @property
    def name(self) -> str:
        """Number and solver, the namespace `std` left off."""
        return f"{self.number} {self.solver.removeprefix('std/')}"

    @property
    def steps(self) -> int:
        """Steps that it made."""
        return self.last - self.first


@dataclass(frozen=True)
class RunFacts:
    """A run folder.

    Attributes:
        resolved: `spec.json`; the spec itself is `spec`.
        environment, data: the JSON files of these names.
        status: `FINISHED`, `FAILED`, `KILLED`, `RUNNING`, or empty where none was written.
        values: every recorded value by name and step.
        left_out: samples left out, as recorded.
        holdout: metrics of each holdout picture, by step; empty where an older version ran.
        problems: one sentence for each missing or damaged piece.
    """

    path: Path
    resolved: Mapping[str, Any]
    environment: Mapping[str, Any]
    data: Mapping[str, Any]
    status: str
    values: Mapping[str, Values]
    left_out: tuple[Mapping[str, Any], ...]
    ended: tuple[Mapping[str, Any], ...]
    problems: tuple[str, ...]
    holdout: Mapping[int, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)

    @property
    def spec(self) -> Mapping[str, Any]:
        """The resolved spec."""
        spec: Mapping[str, Any] = self.resolved["spec"]
        return spec

    @property
    def folder(self) -> str:
        """Name of the folder."""
        return self.path.resolve().name

    @cached_property
    def last_step(self) -> int:
        """The last step of which anything is recorded; 0 where nothing is."""
        return max((step for values in self.values.values() for step in values), default=0)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that began, and what is recorded of them."""
        stages: list[Stage] = []
        for index, stage in enumerate(_mappings(self.spec.get("stages"))):
            first = stages[-1].last if stages else 0
            facts = self.ended[index] if index < len(self.ended) else {}
            # A stage limited by minutes, of which no end is recorded, has what steps there are.
            steps = _count(facts.get("steps")) or _count(stage.get("steps")) or self.last_step - first
            limit = f"{stage.get('minutes')} minutes" if stage.get("minutes") else f"{stage.get('steps')} steps"
            last = min(first + steps, self.last_step)
            ended = index < len(self.ended) or (self.path / "checkpoints" / f"stage-{index + 1}.pt").exists()
            seconds = facts.get("seconds")
            stages.append(
                Stage(
                    index + 1,
                    str(stage.get("solver")),
                    first,
                    last,
                    limit,
                    float(seconds) if isinstance(seconds, int | float) else None,
                    _count(facts.get("evaluations")),
                    ended,
                )
            )
        return tuple(stages)

    @property
    def marks(self) -> list[Mark]:
        """The stages as marks on an axis of steps."""
        return [Mark(stage.first, stage.last, stage.name) for stage in self.stages if stage.steps]

    @property
    def metrics(self) -> dict[str, Values]:
        """Holdout means by metric and step, in the order of the spec."""
        metrics = self.spec.get("metrics")
        listed = metrics if isinstance(metrics, list) else _mapping(metrics)  # a problem's own are a list
        names = [name for name in listed if HOLDOUT + name in self.values]
        return {name: self.values[HOLDOUT + name] for name in names}


def read_run(path: Path) -> RunFacts:
    """Read the folder of a run, of a finished one or not.

    Raises:
        DataError: it is no run's folder.
    """
    problems: list[str] = []
    try:
        resolved = json.loads((path / "spec.json").read_text(encoding="utf-8"))
        _ = resolved["spec"]["name"], resolved["spec"]["stages"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(
            f"{path} is not the folder of a run: it has no readable spec.json; give one that `restore-hub run` made"
        ) from None
    values: dict[str, dict[int, float]] = {}
    for line in _lines(path / "metrics.jsonl", problems):
        step = line.pop("step", None)
        for name, value in line.items():
            if isinstance(step, int) and isinstance(value, int | float):
                values.setdefault(name, {})[step] = float(value)
    if not values:
        problems.append("metrics.jsonl: no values are recorded yet.")
    left_out = _lines(path / "left_out.jsonl", problems) if (path / "left_out.jsonl").exists() else ()
    measured = _lines(path / "holdout.jsonl", problems) if (path / "holdout.jsonl").exists() else ()
    holdout = {line["step"]: _mapping(line.get("pictures")) for line in measured if isinstance(line.get("step"), int)}
    return RunFacts(
        path,
        resolved,
        _mapping(_json(path / "environment.json", problems)),
        _mapping(_json(path / "data.json", problems)),
        str(_mapping(_json(path / "status.json")).get("status", "")),
        values,
        tuple(left_out),
        tuple(_mappings(_json(path / "stages.json"))),
        tuple(problems),
        holdout,
    )


def _json(path: Path, problems: list[str] | None = None) -> Any:
    """Return what a JSON file holds; where it cannot be read, `None`, and a problem if there is a list for it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        if problems is not None:
            problems.append(f"{path.name}: {'damaged' if path.exists() else 'missing'}.")
        return None


def _lines(path: Path, problems: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file of JSON lines; those that are damaged are counted."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        problems.append(f"{path.name}: missing.")
        return
    damaged = []
    for number, line in enumerate(lines, 1):
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if isinstance(found, dict):
            yield found
        elif line.strip():
            damaged.append(number)
    if damaged:
        which = f"line {damaged[0]}" if len(damaged) == 1 else f"{len(damaged)} lines, the first being {damaged[0]},"
        problems.append(f"{path.name}: {which} of {len(lines)} cannot be read, and left out.")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [_mapping(item) for item in value] if isinstance(value, list) else []


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None
