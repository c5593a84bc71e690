"""A spec with every name looked up, every option and port checked: all that can be known before training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from restore_hub.plan.checks import check_call, check_data_tensors, check_export, check_levels, check_lower_steps
from restore_hub.plan.lookup import Lookup, Part, require_plugins
from restore_hub.registry import Component, Registry
from restore_hub.spec import DATA, HOLDOUT, Document, Graph, Spec, build_graph, check_tensor, parse
from restore_hub.spec.models import MetricUse


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a run is made of: a chain of blocks, or a problem with tables of parts that are empty.

    `remarks` are findings that a person should read but that stop nothing.
    """

    document: Document
    spec: Spec
    graph: Graph
    networks: Mapping[str, Part]
    losses: Mapping[str, Part]
    metrics: Mapping[str, Part]
    datasets: Mapping[str, Part]
    solvers: Mapping[int, Part]
    tracker: Part | None
    problem: Part | None
    remarks: tuple[str, ...]

    def components(self) -> list[Component]:
        """Return every component in use, once, sorted by name."""
        tables: list[Mapping[Any, Part]] = [self.networks, self.losses, self.metrics, self.datasets, self.solvers]
        parts = [part for table in tables for part in table.values()]
        parts += [part for part in (self.tracker, self.problem) if part]
        return sorted({part.component for part in parts}, key=lambda c: (c.kind, c.name))


def make_plan(document: Document, registry: Registry) -> Plan:
    """Check a document against what is registered; the names that a problem has are looked up once it is made.

    Raises:
        SpecError: anything wrong in the file, with its place.
    """
    spec = parse(document)
    graph = build_graph(document, spec)
    require_plugins(document, spec, registry)
    look = Lookup(document, registry)
    networks = {
        name: look.part("network", block.network, block, block.inputs, "blocks", name)
        for name, block in spec.blocks.items()
    }
    losses = {
        name: look.part("loss", use.loss, use, use.inputs, "objectives", name) for name, use in spec.objectives.items()
    }
    datasets = {name: look.part("dataset", split.dataset, split, {}, "data", name) for name, split in spec.data.items()}
    solvers = {
        index: look.part("solver", stage.solver, stage, {}, "stages", index) for index, stage in enumerate(spec.stages)
    }
    problem = look.part("problem", spec.problem.problem, spec.problem, {}, "problem") if spec.problem else None
    metrics = {} if problem else _metrics(document, spec, graph, look)
    use = spec.tracker
    tracker = look.part("tracker", use.tracker, use, {}, "tracker") if use else None
    for name, part in losses.items():
        check_call(document, part, "objectives", name)
    check_data_tensors(document, spec, datasets, losses, metrics)
    check_export(document, spec, graph)
    remarks = [] if problem else check_levels(document, spec, graph, solvers)
    check_lower_steps(document, spec, solvers)
    return Plan(document, spec, graph, networks, losses, metrics, datasets, solvers, tracker, problem, tuple(remarks))


def _metrics(document: Document, spec: Spec, graph: Graph, look: Lookup) -> dict[str, Part]:
    """Metrics written as a list compare the exported chain with `data.rgb`."""
    default = {"prediction": spec.export.chain or "", "target": f"{DATA}rgb"}
    if isinstance(spec.metrics, list):
        if spec.metrics and not spec.export.chain:
            raise document.error(
                "a list of metrics measures `export.chain`, which is not given; name it, or write each metric as "
                "`psnr: {metric: psnr, inputs: {prediction: …, target: …}}`",
                "metrics",
            )
        uses = {name: MetricUse(metric=name, inputs=default) for name in spec.metrics}
    else:
        uses = dict(spec.metrics)
    if uses and HOLDOUT not in spec.data:
        raise document.error(f"metrics need a split called `{HOLDOUT}` that trains nothing", "metrics")
    parts = {}
    for position, (name, use) in enumerate(uses.items()):
        place = ("metrics", position) if isinstance(spec.metrics, list) else ("metrics", name)
        parts[name] = look.part("metric", use.metric, use, use.inputs or default, *place)
        check_call(document, parts[name], *place)
        for port, tensor in parts[name].inputs.items():
            check_tensor(document, graph.producer, tensor, *place, "inputs", port)
    return parts
