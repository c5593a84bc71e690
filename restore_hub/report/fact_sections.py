"""The sections of plain facts: stages, data, exported files, environment, spec."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML

from restore_hub.files import file_hash
from restore_hub.model.model import Model
from restore_hub.report.html import Child, Node, element, note, section, table
from restore_hub.report.run_facts import RunFacts
from restore_hub.report.scale import number

LISTED = 20  # samples left out that are named


def stage_section(run: RunFacts) -> Node:
    """Return what each stage took: steps, seconds, gradients."""
    rows: list[list[Child]] = []
    for stage in run.stages:
        state = "finished" if stage.ended else "not finished" if stage.steps else "not begun"
        seconds = "–" if stage.seconds is None else f"{stage.seconds:.1f}"
        evaluations = "–" if stage.evaluations is None else str(stage.evaluations)
        rows.append([str(stage.number), stage.solver, str(stage.steps), stage.limit, seconds, evaluations, state])
    head = ["stage", "solver", "steps", "planned", "seconds", "gradients", "state"]
    unknown = any(stage.seconds is None for stage in run.stages)
    return section(
        "Stages",
        table(head, rows),
        note(
            "Seconds include the measurements in between. Gradients are forward and backward passes."
            + (" A dash means that nothing was recorded." if unknown else "")
        ),
    )


def data_section(run: RunFacts) -> Node:
    """Return the splits, notes on them, and the samples that were left out."""
    left_out = Counter(str(line.get("split")) for line in run.left_out)
    rows: list[list[Child]] = []
    notes: list[Node] = []
    problem = dict(run.spec.get("problem") or {})
    splits = dict(run.spec.get("data") or {name: {"dataset": problem["problem"]} for name in run.data if problem})
    for name, split in splits.items():
        facts = run.data.get(name) if isinstance(run.data.get(name), dict) else {}
        samples = facts.get("samples", "–") if facts else "–"
        rows.append(
            [name, str(split.get("dataset")), str(samples), str(split.get("batch_size", "–")), str(left_out[name])]
        )
        notes += [element("li", {}, f"{name}: {line}") for line in (facts or {}).get("notes", ())]
    lost = [
        element("li", {}, f"{line.get('split')}: {line.get('reason')}", element("br"), _files(line))
        for line in run.left_out[:LISTED]
    ]
    more = len(run.left_out) - LISTED
    return section(
        "Data",
        table(["split", "dataset", "samples", "batch", "left out"], rows),
        element("ul", {"class": "note"}, *notes) if notes else None,
        element("h3", {}, "Left out") if lost else None,
        element("ul", {"class": "note"}, *lost) if lost else note("No sample was left out."),
        note(f"left_out.jsonl lists {more} more.") if more > 0 else None,
    )


def export_section(exported: Mapping[str, Model | str]) -> Node:
    """Return what the exported files say about themselves."""
    if not exported:
        return section("Exported files", note("Nothing was exported."))
    rows: list[list[Child]] = []
    damaged = []
    for name, model in exported.items():
        if isinstance(model, str):
            damaged.append(note(model))
            continue
        digest = element("code", {"class": "sum"}, file_hash(model.path))
        size, parity = f"{model.path.stat().st_size / 1e6:.2f} MB", number(model.manifest.parity, digits=2)
        rows.append([name, model.manifest.kind, size, parity, model.manifest.licence, digest])
    head = ["file", "kind", "size", "parity", "licence", "SHA-256"]
    return section(
        "Exported files",
        table(head, rows) if rows else None,
        note("Parity is the largest difference from PyTorch that was measured at export.") if rows else None,
        *damaged,
    )


def environment_section(run: RunFacts) -> Node:
    """Return the machine, and the versions of packages and components."""
    facts = {k: v for k, v in run.environment.items() if k != "packages"}
    packages = run.environment.get("packages")
    named = {
        name: "not installed" if v is None else str(v)
        for name, v in (packages if isinstance(packages, dict) else {}).items()
    }
    rows: list[list[Child]] = [
        [name, element("code", {}, "none" if value is None else str(value))]
        for name, value in {**facts, **named}.items()
    ]
    rows += [[owner, ", ".join(names)] for owner, names in _owners(run).items()]
    return section("Environment", table(["", "value"], rows, kind="compact") if rows else note("It wasn't recorded."))


def spec_section(run: RunFacts) -> Node:
    """Return the resolved spec as YAML."""
    summary = element("summary", {}, "The resolved spec, with all defaults")
    return section("Spec", element("details", {}, summary, element("pre", {}, element("code", {}, spec_text(run)))))


def spec_text(run: RunFacts) -> str:
    """Return the resolved spec as YAML, which `restore-hub run` takes."""
    text = io.StringIO()
    yaml = YAML()
    yaml.width = 100
    yaml.dump(dict(run.spec), text)
    return text.getvalue()


def _files(line: Mapping[str, Any]) -> Node:
    files = line.get("files")
    return element("code", {}, ", ".join(map(str, files)) if isinstance(files, list) else "")


def _owners(run: RunFacts) -> dict[str, list[str]]:
    """Return the names of the components by the package, and its version, that brought them."""
    found = run.resolved.get("components")
    owners: dict[str, list[str]] = {}
    for name, component in found.items() if isinstance(found, dict) else ():
        if isinstance(component, dict):
            owners.setdefault(f"from {component.get('owner')} {component.get('version')}", []).append(str(name))
    return owners
