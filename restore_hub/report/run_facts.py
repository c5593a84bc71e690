"""The facts in a run's folder, read without PyTorch; missing or damaged pieces are noted, and the rest is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from restore_hub.errors import DataError, counted
from restore_hub.report.chart import Span, Values

HOLDOUT = "holdout/"


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage, as far as it got.

    Attributes:
        first, last: it took the steps after `first`, up to `last`, counted over all stages.
        limit: what the spec allows it, such as `60 steps`.
        seconds: of training; `None` if not recorded, such as for a stage that didn't end.
        evaluations: energy gradients taken; `None` if not recorded.
        ended: whether it finished.
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
        """Number and solver, without the namespace `std`."""
        return f"{self.number} {self.solver.removeprefix('std/')}"

    @property
    def steps(self) -> int:
        """The number of steps that it took."""
        return self.last - self.first


@dataclass(frozen=True)
class RunFacts:
    """The facts in a run folder.

    Attributes:
        resolved: `spec.json`; the spec itself is `spec`.
        environment, data: the JSON files of these names.
        status: `FINISHED`, `FAILED`, `KILLED`, `RUNNING`, or empty if none was written.
        values: every recorded value by name and step.
        left_out: samples left out, as recorded.
        ended: facts of the stages that finished, as recorded.
        gaps: one sentence for each missing or damaged piece.
        holdout: metrics of each holdout picture, by step; empty if an older version ran.
    """

    path: Path
    resolved: Mapping[str, Any]
    environment: Mapping[str, Any]
    data: Mapping[str, Any]
    status: str
    values: Mapping[str, Values]
    left_out: tuple[Mapping[str, Any], ...]
    ended: tuple[Mapping[str, Any], ...]
    gaps: tuple[str, ...]
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
        """The last step that recorded anything; 0 if none did."""
        return max((step for values in self.values.values() for step in values), default=0)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of the spec, with what was recorded of them."""
        stages: list[Stage] = []
        for index, stage in enumerate(_mappings(self.spec.get("stages"))):
            first = stages[-1].last if stages else 0
            facts = self.ended[index] if index < len(self.ended) else {}
            # A stage limited by minutes that didn't end has the steps that were recorded.
            steps = _count(facts.get("steps")) or _count(stage.get("steps")) or self.last_step - first
            minutes = stage.get("minutes")
            limit = counted(minutes, "minute") if minutes else counted(stage.get("steps"), "step")
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
    def spans(self) -> list[Span]:
        """The stages as spans on an axis of steps."""
        return [Span(stage.first, stage.last, stage.name) for stage in self.stages if stage.steps]

    @property
    def metrics(self) -> dict[str, Values]:
        """Holdout means by metric and step, in the order of the spec."""
        metrics = self.spec.get("metrics")
        listed = metrics if isinstance(metrics, list) else _mapping(metrics)  # a problem's own are a list
        names = [name for name in listed if HOLDOUT + name in self.values]
        return {name: self.values[HOLDOUT + name] for name in names}


def read_run(path: Path) -> RunFacts:
    """Read a run's folder, whether the run finished or not.

    Raises:
        DataError: it isn't a run's folder.
    """
    gaps: list[str] = []
    try:
        resolved = json.loads((path / "spec.json").read_text(encoding="utf-8"))
        _ = resolved["spec"]["name"], resolved["spec"]["stages"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError("train.not-a-run", path, missing="spec.json") from None
    values: dict[str, dict[int, float]] = {}
    for line in _lines(path / "metrics.jsonl", gaps):
        step = line.pop("step", None)
        for name, value in line.items():
            if isinstance(step, int) and isinstance(value, int | float):
                values.setdefault(name, {})[step] = float(value)
    if not values:
        gaps.append("metrics.jsonl: no values were recorded yet.")
    left_out = _lines(path / "left_out.jsonl", gaps) if (path / "left_out.jsonl").exists() else ()
    measured = _lines(path / "holdout.jsonl", gaps) if (path / "holdout.jsonl").exists() else ()
    holdout = {line["step"]: _mapping(line.get("pictures")) for line in measured if isinstance(line.get("step"), int)}
    return RunFacts(
        path,
        resolved,
        _mapping(_json(path / "environment.json", gaps)),
        _mapping(_json(path / "data.json", gaps)),
        str(_mapping(_json(path / "status.json")).get("status", "")),
        values,
        tuple(left_out),
        tuple(_mappings(_json(path / "stages.json"))),
        tuple(gaps),
        holdout,
    )


def _json(path: Path, gaps: list[str] | None = None) -> Any:
    """Return the content of a JSON file; `None`, and a line in `gaps` if given, when it can't be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        if gaps is not None:
            gaps.append(f"{path.name}: {'damaged' if path.exists() else 'missing'}.")
        return None


def _lines(path: Path, gaps: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file of JSON lines, and count the damaged ones."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        gaps.append(f"{path.name}: missing.")
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
        one, count = len(damaged) == 1, len(lines)
        which = f"line {damaged[0]} of {count} is" if one else f"{len(damaged)} of {count} lines are"
        gaps.append(f"{path.name}: {which} damaged and left out.")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [_mapping(item) for item in value] if isinstance(value, list) else []


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None
