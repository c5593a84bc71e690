"""Runs side by side: how their specs differ, what they reached, and their curves and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from restore_hub.errors import counted
from restore_hub.files import write_file
from restore_hub.report.curves import overlaid
from restore_hub.report.html import Child, element, note, page, section, table
from restore_hub.report.pictures import Group, grouped, viewers
from restore_hub.report.run_facts import RunFacts, read_run
from restore_hub.report.run_page import status
from restore_hub.report.scale import number
from restore_hub.report.scores import exported_models, scores

ABSENT = "–"
Rows = list[tuple[str, list[str]]]  # a name, and its value in each run


def read_runs(folders: Sequence[Path]) -> dict[str, RunFacts]:
    """Read run folders, and name each by as much of its path as tells it from the others.

    Raises:
        DataError: one isn't the folder of a run.
    """
    runs = [read_run(folder) for folder in folders]
    paths = [run.path.resolve() for run in runs]
    depth = 1
    while len({p.parts[-depth:] for p in paths}) < len(set(paths)):
        depth += 1
    labels: dict[str, RunFacts] = {}
    for run, path in zip(runs, paths, strict=True):
        labels.setdefault("/".join(path.parts[-depth:]), run)
    return labels


def spec_rows(runs: Mapping[str, RunFacts]) -> Rows:
    """Return the dotted keys in which the resolved specs differ."""
    flat = [flatten(run.spec) for run in runs.values()]
    keys = sorted({key for one in flat for key in one}, key=_natural)
    rows = [(key, [_text(one[key]) if key in one else ABSENT for one in flat]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def result_rows(runs: Mapping[str, RunFacts]) -> Rows:
    """Return each run's status, its stages' steps and seconds, and the holdout means of stages and exported files."""
    facts = list(runs.values())
    rows: Rows = [("status", [status(run) for run in facts])]
    for index in range(max(len(run.stages) for run in facts)):
        stages = [run.stages[index] if index < len(run.stages) else None for run in facts]
        start = f"stage {index + 1}"
        rows += [
            (f"{start} solver", [s.solver if s else ABSENT for s in stages]),
            (f"{start} steps", [str(s.steps) if s else ABSENT for s in stages]),
            (f"{start} seconds", [ABSENT if s is None or s.seconds is None else f"{s.seconds:.1f}" for s in stages]),
        ]
    tables = [_unstepped(scores(run, exported_models(run))) for run in facts]
    for column in dict.fromkeys(name for one in tables for name in one):
        for metric in dict.fromkeys(name for one in tables for name in one.get(column, {})):
            found = [one.get(column, {}).get(metric) for one in tables]
            rows.append((f"{metric}, {column}", [ABSENT if v is None else number(v) for v in found]))
    return rows


def write_comparison(runs: Mapping[str, RunFacts], path: Path) -> None:
    """Write a page with both tables, and with the runs' curves and pictures over each other.

    Raises:
        DataError: it can't be written.
    """
    differing = spec_rows(runs)
    labels = list(runs)
    pictures = _pictures(runs)
    sections = [
        section("Results", table(["", *labels], _cells(result_rows(runs)))),
        section(
            "Specs",
            table(["key", *labels], _cells(differing, "code")) if differing else note("The resolved specs are equal."),
        ),
        section("Pictures", element("div", {"class": "viewers"}, *viewers(pictures)))
        if pictures
        else section("Pictures", note("No two runs have a picture of the same name.")),
        *overlaid(runs),
    ]
    gaps = [element("li", {}, f"{label}: {line}") for label, run in runs.items() for line in run.gaps]
    if gaps:
        sections.insert(0, element("aside", {}, element("ul", {}, *gaps)))
    head = [
        element("p", {"class": "over"}, f"{len(runs)} training runs"),
        element("h1", {}, " · ".join(labels)),
        element("p", {"class": "lead"}, _summary(len(differing))),
    ]
    write_file(path, page(" · ".join(labels), head, sections))


def _summary(keys: int) -> str:
    many = counted(keys, "key")
    return f"Their resolved specs differ in {many}." if keys else "Their resolved specs are equal."


def flatten(value: Any, path: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings and lists by dotted key."""
    if isinstance(value, dict) and value:
        items = list(value.items())
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        items = list(enumerate(value))
    else:
        return {path: value}
    return {k: v for key, one in items for k, v in flatten(one, f"{path}.{key}" if path else str(key)).items()}


def _pictures(runs: Mapping[str, RunFacts]) -> dict[str, Group]:
    """Return, for each picture that several runs have, each run's output, and the input and reference once."""
    each = {label: grouped(run.path / "pictures") for label, run in runs.items()}
    groups: dict[str, Group] = {}
    for name in dict.fromkeys(name for one in each.values() for name in one):
        having = {label: one[name] for label, one in each.items() if name in one}
        outputs = {label: g.get("output") or g.get("picture") for label, g in having.items()}
        shared = {r: next((g[r] for g in having.values() if r in g), None) for r in ("input", "reference")}
        if sum(path is not None for path in outputs.values()) > 1:
            groups[name] = {label: path for label, path in {**outputs, **shared}.items() if path is not None}
    return groups


def _unstepped(columns: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    """Return the columns without the step in their names, since it differs from run to run."""
    return {name.partition(" (")[0]: means for name, means in columns.items()}


def _cells(rows: Rows, kind: str = "span") -> list[list[Child]]:
    return [[name, *(element(kind, {}, value) for value in values)] for name, values in rows]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _natural(key: str) -> list[tuple[bool, int, str]]:
    """Return what sorts `stages.10` after `stages.9`."""
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in key.split(".")]
