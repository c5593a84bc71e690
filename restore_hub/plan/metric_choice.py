"""Which metrics a spec of a chain measures: those that it names, or those of its tasks."""

from __future__ import annotations

from dataclasses import replace

from restore_hub.errors import nearest
from restore_hub.plan.checks import check_call
from restore_hub.plan.lookup import Lookup, Part, Place
from restore_hub.plan.tasks import Expansion
from restore_hub.plan.tasks.piece import Piece
from restore_hub.spec import DATA, HOLDOUT, Graph, check_tensor
from restore_hub.spec.models import MetricUse


def choose_metrics(expansion: Expansion, graph: Graph, look: Lookup) -> dict[str, Part]:
    """Return the metrics of a spec, by name.

    Without `metrics`, those of all tasks are measured, if there is a split to measure on. A registered metric in a list
    compares the exported chain with `data.rgb`; one of a task reads what the task wires.

    With a problem, `check_problem` compares the tensors with what it makes.

    Raises:
        SpecError: an unknown metric or tensor, tensors that don't fit, or nothing to measure with or on.
    """
    spec, document = expansion.spec, look.document
    chosen = _chosen(expansion)
    if chosen and HOLDOUT not in spec.data:
        raise document.error("spec.metrics-need-holdout", "metrics")
    patient = next((index for index, stage in enumerate(spec.stages) if stage.patience), None)
    if not chosen and patient is not None:
        raise document.error("spec.unmeasured-patience", "stages", patient, "patience")
    parts = {}
    for name, (use, place) in chosen.items():
        parts[name] = part = _of_task(expansion, look, use, *place) or _registered(expansion, look, use, *place)
        if isinstance(part, Piece):
            part.point_at_targets("metrics", name)
        check_call(part)
        for port, tensor in part.inputs.items() if spec.problem is None else ():
            check_tensor(document, graph.producer, tensor, *place, "inputs", port)
    return parts


def _chosen(expansion: Expansion) -> dict[str, tuple[MetricUse, Place]]:
    """Return the metrics by name, each with its place in the spec."""
    metrics = expansion.spec.metrics
    if "metrics" not in expansion.spec.model_fields_set:
        names = [name for role, name in expansion.pieces if role == "metric" and HOLDOUT in expansion.spec.data]
        return {name: (MetricUse(metric=name), expansion.pieces["metric", name].place) for name in names}
    if isinstance(metrics, list):
        return {name: (MetricUse(metric=name), ("metrics", index)) for index, name in enumerate(metrics)}
    return {name: (use, ("metrics", name)) for name, use in metrics.items()}


def _registered(expansion: Expansion, look: Lookup, use: MetricUse, *place: str | int) -> Part:
    chain = expansion.spec.export.chain
    if isinstance(expansion.spec.metrics, list) and not chain:
        raise look.document.error("spec.metrics-need-chain", "metrics")
    inputs = use.inputs or {"prediction": chain or "", "target": f"{DATA}rgb"}
    return look.part("metric", use.metric, use, inputs, *place)


def _of_task(expansion: Expansion, look: Lookup, use: MetricUse, *place: str | int) -> Piece | None:
    """Return a task's metric used at a place of the spec; `None` if another one is meant."""
    task = use.metric.partition(".")[0]
    if task not in expansion.tasks:
        return None
    piece = expansion.pieces.get(("metric", use.metric))
    if piece is None:
        known = [name for role, name in expansion.pieces if role == "metric" and name.startswith(f"{task}.")]
        facts = {"kind": "metric", "name": use.metric, "known": ", ".join(known) or "none"}
        raise look.document.error("spec.unknown-name", *place, mend=nearest(use.metric, known), **facts)
    look.refuse_options(use.metric, use, *place)
    piece.point_at_targets(*place)
    return replace(piece, inputs={**piece.inputs, **use.inputs}, place=place)
