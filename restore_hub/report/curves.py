"""Which curves a report shows: losses by stage, holdout metrics, and what solvers say of their hypergradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from restore_hub.report.chart import Mark, chart
from restore_hub.report.html import Node, element, note, section
from restore_hub.report.reading import HOLDOUT, RunFacts

LOSS = "loss"
# What the solvers log (docs of `restore-hub show ibgl`); any other name is shown without a line.
ABOUT = {
    "s": "Ratio that scales the outer product of the response.",
    "g_lower": "Norm of the lower level's gradient; 0 where there was no response.",
    "cosine": "Cosine of the angle between the gradients of both levels by the lower variables.",
    "response_norm": "Norm of the response at the coupling tensors.",
    "direct_norm": "Norm of the upper level's own gradient at the coupling tensors.",
    "capped": "1 where the response was cut to its limit.",
}


def loss_curves(run: RunFacts) -> Node:
    """Return one panel of losses a stage."""
    panels = []
    for stage in run.stages:
        series = {
            name: {step: value for step, value in values.items() if stage.first < step <= stage.last}
            for name, values in run.values.items()
            if name.startswith(LOSS)
        }
        found = {name: values for name, values in series.items() if values}
        if found:
            about = f"Stage {stage.number}, {stage.solver}: steps {stage.first + 1} to {stage.last}."
            panels.append(chart(f"Stage {stage.name}", about, found))
    return _panels("Losses", panels, "No losses are recorded.")


def metric_curves(run: RunFacts) -> Node:
    """Return one panel a metric."""
    panels = [
        chart(name, "Mean over the holdout pictures.", {name: values}, run.marks)
        for name, values in run.metrics.items()
    ]
    return _panels("Holdout", panels, "No metrics are recorded.")


def diagnostic_curves(run: RunFacts) -> Node:
    """Return one panel for each other value that a solver logs."""
    panels = [chart(name, about(name), {name: run.values[name]}, run.marks) for name in diagnostics(run.values)]
    return _panels("Hypergradient", panels, "No stage logs diagnostics: none is bilevel, or none began.")


def diagnostics(names: Iterable[str]) -> list[str]:
    """Return the names that are neither losses nor metrics: known ones first."""
    rest = [name for name in names if not name.startswith((LOSS, HOLDOUT))]
    return [name for name in ABOUT if name in rest] + sorted(set(rest) - set(ABOUT))


def about(name: str) -> str:
    """Say what a value is, in one line."""
    return ABOUT.get(name, "Logged by the solver.")


def overlaid(runs: Mapping[str, RunFacts]) -> list[Node]:
    """Return sections that draw the same value of several runs in one panel."""
    names = list(dict.fromkeys(name for run in runs.values() for name in run.values))
    same = len({tuple(run.marks) for run in runs.values()}) == 1
    marks: Sequence[Mark] = next(iter(runs.values())).marks if same else ()

    def panel(name: str, line: str) -> Node:
        series = {label: run.values[name] for label, run in runs.items() if name in run.values}
        return chart(name.removeprefix(HOLDOUT), line, series, marks)

    metrics = [panel(name, "Mean over the holdout pictures.") for name in names if name.startswith(HOLDOUT)]
    losses = [panel(name, "By step, over all stages.") for name in names if name.startswith(LOSS)]
    rest = [panel(name, about(name)) for name in diagnostics(names)]
    return [
        _panels("Holdout", metrics, "No metrics are recorded."),
        _panels("Losses", losses, "No losses are recorded."),
        _panels("Hypergradient", rest, "No stage logs diagnostics."),
    ]


def _panels(title: str, panels: Sequence[Node], otherwise: str) -> Node:
    return section(title, element("div", {"class": "panels"}, *panels) if panels else note(otherwise))
