"""The sections of plain facts: stages, data, exported files, environment, spec."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML

from restore_hub.model.model import Model
from restore_hub.report.html import Child, Node, element, note, section, table
from restore_hub.report.reading import RunFacts
from restore_hub.report.scale import number

LISTED = 20  # files left out that are named


def stage_section(run: RunFacts) -> Node:
    """Return what each stage took."""
    rows: list[list[Child]] = []
    for stage in run.stages:
        state = "ended" if stage.ended else "not ended" if stage.steps else "not begun"
        seconds = "–" if stage.seconds is None else f"{stage.seconds:.1f}"
        evaluations = "–" if stage.evaluations is None else str(stage.evaluations)
        rows.append([str(stage.number), stage.solver, str(stage.steps), stage.limit, seconds, evaluations, state])
    head = ["stage", "solver", "steps", "of", "seconds", "gradients", ""]
    unknown = any(stage.seconds is None for stage in run.stages)
    return section(
        "Stages",
        table(head, rows),
        note(
            "Seconds of training, measurements in between included; gradients are forward and backward passes."
            + (" A dash stands where nothing is recorded." if unknown else "")
        ),
    )


def data_section(run: RunFacts) -> Node:
    """Return the splits, what is to be known of them, and what was left out."""
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
        note(f"{more} more are in left_out.jsonl.") if more > 0 else None,
    )


def export_section(exported: Mapping[str, Model | str]) -> Node:
    """Return the exported files, as they describe themselves."""
    if not exported:
        return section("Exported", note("Nothing was exported."))
    rows: list[list[Child]] = []
    damaged = []
    for name, model in exported.items():
        if isinstance(model, str):
            damaged.append(note(model))
            continue
        data = model.path.read_bytes()
        digest = element("code", {"class": "sum"}, hashlib.sha256(data).hexdigest())
        parity, licence = number(model.manifest.parity), model.manifest.licence
        rows.append([name, model.manifest.kind, f"{len(data) / 1e6:.2f} MB", parity, licence, digest])
    head = ["file", "kind", "size", "parity", "licence", "SHA-256"]
    return section(
        "Exported",
        table(head, rows) if rows else None,
        note("Parity is the largest difference from PyTorch, measured at export.") if rows else None,
        *damaged,
    )


def environment_section(run: RunFacts) -> Node:
    """Return versions and machine."""
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
    rows += [[str(name), f"{c.get('owner')} {c.get('version')}"] for name, c in _components(run).items()]
    return section("Environment", table(["what", "value"], rows) if rows else note("Not recorded."))


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


def _components(run: RunFacts) -> dict[str, Mapping[str, Any]]:
    found = run.resolved.get("components")
    return {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}
