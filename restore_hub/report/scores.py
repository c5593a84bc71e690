"""The metrics of a run: at each stage's end, at their best, and of the exported weights."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from restore_hub.errors import ModelFileError, RestoreHubError
from restore_hub.model.model import Model, load
from restore_hub.plugins import default_registry
from restore_hub.report.html import Child, Node, element, note, section, table
from restore_hub.report.run_facts import RunFacts
from restore_hub.report.scale import number
from restore_hub.spec.models import TaskUse

RULE = (
    "Pictures are clipped to [0, 1] and rounded to 8 bits; nothing is cropped. Values are means over the holdout "
    "samples, unless a metric measures all of them together."
)

OWN = "The problem defines these metrics and measures them itself."


def exported_models(run: RunFacts) -> dict[str, Model | str]:
    """Return each exported file by name, or why it can't be loaded."""
    found: dict[str, Model | str] = {}
    for path in sorted((run.path / "export").glob("*.onnx")):
        try:
            found[path.name] = load(path)
        except ModelFileError as error:
            found[path.name] = str(error)
    return found


def scores(run: RunFacts, exported: Mapping[str, Model | str]) -> dict[str, dict[str, float]]:
    """Return the holdout means by column and metric, without empty columns."""
    columns = {
        f"end of stage {stage.number}": _at(run, stage.last) for stage in run.stages if stage.ended and stage.steps
    }
    best = best_step(run)
    if best is not None:
        columns[f"best (step {best})"] = _at(run, best)
    step = exported_step(exported)
    if step is not None:
        columns[f"exported (step {step})"] = _at(run, step)
    return {name: means for name, means in columns.items() if means}


def best_step(run: RunFacts) -> int | None:
    """Return the step with the best first metric, in its own direction; `None` if it was never measured."""
    for name, values in run.metrics.items():
        higher = _higher_is_better(run, name)
        known = {step: value for step, value in values.items() if not math.isnan(value)}
        pick = max if higher else min
        return pick(known, key=lambda step: known[step]) if known else None
    return None


def exported_step(exported: Mapping[str, Model | str]) -> int | None:
    """Return the step of the exported weights, as the files state it."""
    for model in exported.values():
        if isinstance(model, Model):
            step = model.manifest.provenance.get("step")
            return step if isinstance(step, int) else None
    return None


def metric_section(run: RunFacts, exported: Mapping[str, Model | str]) -> Node:
    """Return the table of metrics, and how each is computed."""
    columns = scores(run, exported)
    if not columns:
        return section("Metrics", note("Nothing was measured on the holdout split."))
    rows: list[list[Child]] = [
        [name, *(number(means[name]) if name in means else "–" for means in columns.values())] for name in run.metrics
    ]
    listed = [element("li", {}, element("b", {}, name), f": {recipe}") for name, recipe in recipes(run).items()]
    best = run.spec.get("export", {}).get("weights") == "best"
    optimistic = note("The holdout chose the exported weights, so their metrics are optimistic.") if best else None
    return section(
        "Metrics",
        table(["metric", *columns], rows, kind="numbers"),
        optimistic,
        element("ul", {"class": "note"}, *listed),
        note(OWN if _own_problem(run) else RULE),
    )


def recipes(run: RunFacts) -> dict[str, str]:
    """Return one line for each measured metric: how it's computed."""
    return {name: _recipe(run, name) for name in run.metrics}


def _at(run: RunFacts, step: int) -> dict[str, float]:
    return {name: values[step] for name, values in run.metrics.items() if step in values}


def _recipe(run: RunFacts, name: str) -> str:
    """Return the first line of the component's docstring, and the tensors that it compares."""
    problem = _own_problem(run)
    if problem:
        return (
            f"as {problem.get('problem')} defines it; {'higher' if _higher_is_better(run, name) else 'lower'} is better"
        )
    use: Any = run.spec["metrics"][name]
    use = use if isinstance(use, dict) else {}
    inputs, options = use.get("inputs") or {}, {k: v for k, v in use.items() if k not in ("metric", "inputs")}
    compared = " and ".join(f"{port} = {tensor}" for port, tensor in dict(inputs).items())
    with_options = "".join(f"; {key} = {value}" for key, value in options.items())
    target = _component(run, name)
    line = (inspect.getdoc(target) or "").partition("\n")[0] if target else "Its plugin isn't installed here."
    return f"{line.replace('`', '')} ({use.get('metric', name)}; {compared}{with_options})"


def _own_problem(run: RunFacts) -> dict[str, Any]:
    """Return the problem that defines the metrics itself; empty where they're registered ones."""
    own = isinstance(run.spec.get("metrics"), list)
    return dict(run.spec.get("problem") or {}) if own else {}


def _higher_is_better(run: RunFacts, name: str) -> bool:
    """Return a metric's own direction; up if its plugin isn't installed."""
    problem = _own_problem(run)
    if not problem:
        return bool(getattr(_component(run, name), "higher_is_better", True))
    try:
        return bool(default_registry().find("problem", str(problem["problem"])).load().metrics[name])
    except (RestoreHubError, TypeError, KeyError, AttributeError):
        return True


def _component(run: RunFacts, name: str) -> Any:
    """Return the class of a metric, or what a task has; `None` if its plugin isn't installed."""
    use = run.spec["metrics"][name]
    try:
        metric = str(use["metric"])
        block, _, own = metric.partition(".")
        task = run.spec["blocks"].get(block, {}).get("task") if own else None
        return default_registry().find("metric", metric).load() if task is None else _of_task(run, block, task, own)
    except (RestoreHubError, TypeError, KeyError):
        return None


def _of_task(run: RunFacts, block: str, task: str, metric: str) -> Any:
    """Return a metric of a task, from its class where it's there."""
    target = default_registry().find("task", task).load()
    if metric in getattr(target, "metrics", {}):
        return target.metrics[metric]
    options = {key: value for key, value in run.spec["blocks"][block].items() if key not in TaskUse.reserved_keys()}
    try:
        return target(**options).metrics[metric]
    except Exception:  # a plugin's code raises what it likes, and options may be paths or components
        return None
