"""Which curves a page shows: losses by stage, holdout metrics, and what the solvers log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from restore_hub.report.chart import Span, chart
from restore_hub.report.html import Node, element, note, section
from restore_hub.report.run_facts import HOLDOUT, RunFacts

LOSS = "loss"
# What the solvers of `std` log; other names are shown without an explanation.
ABOUT = {
    "s": "Factor that scales the outer product in the response.",
    "g_lower": "Norm of the lower level's gradient; 0 if there was no response.",
    "cosine": "Cosine of the angle between both levels' gradients by the lower variables.",
    "response_norm": "Norm of the response at the coupling tensors.",
    "direct_norm": "Norm of the upper level's own gradient at the coupling tensors.",
    "capped": "1 if the response was cut to its limit.",
}


def loss_curves(run: RunFacts) -> Node:
    """Return one panel of losses for each stage."""
    panels = []
    for stage in run.stages:
        series = {
            name: {step: value for step, value in values.items() if stage.first < step <= stage.last}
            for name, values in run.values.items()
            if name.startswith(LOSS)
        }
        found = {name: values for name, values in series.items() if values}
        if found:
            panels.append(chart(f"Stage {stage.name}", f"Steps {stage.first + 1} to {stage.last}.", found))
    return _panels("Loss curves", panels, "No losses were recorded.")


def metric_curves(run: RunFacts) -> Node:
    """Return one panel for each metric."""
    panels = [
        chart(name, "Measured on data that trains nothing.", {name: values}, run.spans)
        for name, values in run.metrics.items()
    ]
    return _panels("Metric curves", panels, "No metrics were recorded.")


def diagnostic_curves(run: RunFacts) -> Node:
    """Return one panel for each other value that a solver logs."""
    panels = [chart(name, about(name), {name: run.values[name]}, run.spans) for name in diagnostics(run.values)]
    return _panels("Solver diagnostics", panels, "No stage logged diagnostics: none is bilevel, or none began.")


def diagnostics(names: Iterable[str]) -> list[str]:
    """Return the names that are neither losses nor metrics, known ones first."""
    rest = [name for name in names if not name.startswith((LOSS, HOLDOUT))]
    return [name for name in ABOUT if name in rest] + sorted(set(rest) - set(ABOUT))


def about(name: str) -> str:
    """Explain a value in one line."""
    return ABOUT.get(name, "Logged by the solver.")


def overlaid(runs: Mapping[str, RunFacts]) -> list[Node]:
    """Return sections that show the same value of several runs in one panel."""
    names = list(dict.fromkeys(name for run in runs.values() for name in run.values))
    same = len({tuple(run.spans) for run in runs.values()}) == 1
    spans: Sequence[Span] = next(iter(runs.values())).spans if same else ()

    def panel(name: str, line: str) -> Node:
        series = {label: run.values[name] for label, run in runs.items() if name in run.values}
        return chart(name.removeprefix(HOLDOUT), line, series, spans)

    metrics = [panel(name, "Measured on data that trains nothing.") for name in names if name.startswith(HOLDOUT)]
    losses = [panel(name, "Over the steps of all stages.") for name in names if name.startswith(LOSS)]
    rest = [panel(name, about(name)) for name in diagnostics(names)]
    return [
        _panels("Metric curves", metrics, "No metrics were recorded."),
        _panels("Loss curves", losses, "No losses were recorded."),
        _panels("Solver diagnostics", rest, "No stage logged diagnostics."),
    ]


def _panels(title: str, panels: Sequence[Node], otherwise: str) -> Node:
    return section(title, element("div", {"class": "panels"}, *panels) if panels else note(otherwise))
