"""`report.html`: one run on one page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from restore_hub.errors import counted
from restore_hub.files import write_file
from restore_hub.model.model import Model
from restore_hub.report.curves import diagnostic_curves, loss_curves, metric_curves
from restore_hub.report.fact_sections import (
    data_section,
    environment_section,
    export_section,
    spec_section,
    stage_section,
)
from restore_hub.report.html import Node, element, note, page, section
from restore_hub.report.pictures import grouped, viewers
from restore_hub.report.run_facts import RunFacts, read_run
from restore_hub.report.scale import number
from restore_hub.report.scores import exported_models, exported_step, metric_section, scores

STATUS = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "stopped", "RUNNING": "running or cut off"}


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run's folder, whether it finished or not: one file that needs no network.

    The same folder gives the same bytes.

    Returns:
        path of the page.

    Raises:
        DataError: it isn't a run's folder, or the page can't be written.
    """
    run = read_run(folder)
    exported = exported_models(run)
    sections = [
        *_gaps(run),
        metric_section(run, exported),
        _pictures(run),
        metric_curves(run),
        loss_curves(run),
        diagnostic_curves(run),
        stage_section(run),
        data_section(run),
        export_section(exported),
        environment_section(run),
        spec_section(run),
    ]
    name, state = str(run.spec["name"]), status(run)
    kind = {"finished": "good", "failed": "bad"}.get(state, "open")
    head = [
        element("p", {"class": "over"}, "Training run ", element("code", {}, run.folder)),
        element("h1", {}, name, " ", element("span", {"class": f"status {kind}"}, state)),
        element("p", {"class": "lead"}, _summary(run, exported)),
    ]
    path = folder / "report.html"
    write_file(path, page(f"{name} · {run.folder}", head, sections))
    return path


def status(run: RunFacts) -> str:
    """Return a run's status in a word or two; if it recorded none, from what its folder holds."""
    if run.status:
        return STATUS.get(run.status, run.status)
    return "finished" if run.stages and all(stage.ended for stage in run.stages) else "not finished"


def _summary(run: RunFacts, exported: Mapping[str, Model | str]) -> str:
    each = (f"{counted(s.steps, 'step')} of {s.solver.removeprefix('std/')}" for s in run.stages if s.steps)
    stages = ", then ".join(each)
    known = [stage.seconds for stage in run.stages if stage.seconds is not None]
    time = f", in {sum(known):.0f} s" if known else ""
    step, columns = exported_step(exported), scores(run, exported)
    name, column = next(((n, means) for n, means in reversed(columns.items()) if not n.startswith("best")), ("", {}))
    values = ", ".join(f"{metric} {number(value)}" for metric, value in column.items())
    of = f"At the {name}" if step is None else f"The exported weights, from step {step}, reach"
    reached = f" {of} {values}." if step is not None else f" {of}: {values}."
    return f"{stages or 'No step yet'}{time}." + (reached if values else "")


def _gaps(run: RunFacts) -> list[Node]:
    if not run.gaps:
        return []
    return [element("aside", {}, element("ul", {}, *(element("li", {}, line) for line in run.gaps)))]


def _pictures(run: RunFacts) -> Node:
    groups = grouped(run.path / "pictures")
    if not groups:
        return section("Pictures", note("No pictures were recorded."))
    about = note(
        "Holdout pictures, with the weights measured last. RAW input is shown as R, mean of G, and B, in sRGB's curve."
    )
    return section("Pictures", about, element("div", {"class": "viewers"}, *viewers(groups)))
