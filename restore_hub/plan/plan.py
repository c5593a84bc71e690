"""A spec with every name looked up and every option checked, ready to be made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restore_hub.plan.checks import check_call, check_data_tensors, check_export, check_levels, check_steps
from restore_hub.plan.lookup import Lookup, Part, require_plugins
from restore_hub.registry import Component, Registry
from restore_hub.spec import DATA, HOLDOUT, Document, Graph, Spec, Stage, build_graph, check_tensor, level_place, parse
from restore_hub.spec.models import MetricUse


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a run is made of: a chain of blocks, or a problem (and then the tables of the chain are empty).

    A stage has a solver for each pair of adjacent levels, upper first, or one for its only level. `remarks` are things
    that a person should read, though nothing is wrong.
    """

    document: Document
    spec: Spec
    graph: Graph
    networks: Mapping[str, Part]
    losses: Mapping[str, Part]
    metrics: Mapping[str, Part]
    datasets: Mapping[str, Part]
    solvers: Mapping[int, Sequence[Part]]
    tracker: Part | None
    problem: Part | None
    remarks: tuple[str, ...]

    def components(self) -> list[Component]:
        """Return every component in use, once, sorted by name."""
        tables: list[Mapping[Any, Part]] = [self.networks, self.losses, self.metrics, self.datasets]
        parts = [part for table in tables for part in table.values()]
        parts += [part for solvers in self.solvers.values() for part in solvers]
        parts += [part for part in (self.tracker, self.problem) if part]
        return sorted({part.component for part in parts}, key=lambda c: (c.kind, c.name))


def make_plan(document: Document, registry: Registry) -> Plan:
    """Check a document against what is registered; `check_problem` checks the names of a problem once it's made.

    Raises:
        SpecError: anything wrong in the file, at its place.
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
    solvers = {index: _solvers(look, index, stage) for index, stage in enumerate(spec.stages)}
    problem = look.part("problem", spec.problem.problem, spec.problem, {}, "problem") if spec.problem else None
    check_export(document, spec, graph)
    metrics = {} if problem else _metrics(document, spec, graph, look)
    use = spec.tracker
    tracker = look.part("tracker", use.tracker, use, {}, "tracker") if use else None
    for part in losses.values():
        check_call(part)
    check_data_tensors(document, spec, graph, datasets, losses, metrics)
    check_steps(document, spec, solvers)
    remarks = [] if problem else check_levels(document, spec, graph, solvers)
    return Plan(document, spec, graph, networks, losses, metrics, datasets, solvers, tracker, problem, tuple(remarks))


def _solvers(look: Lookup, index: int, stage: Stage) -> list[Part]:
    """Return the solver of each pair of levels: a level's own, or else the stage's."""
    first = look.part("solver", stage.solver, stage, {}, "stages", index)
    parts = [first]
    for number, level in list(enumerate(stage.levels))[1:-1]:
        use = level.solver_use()
        nested = () if isinstance(level.solver, str) else ("solver",)
        place = (*level_place(look.document, index, number), *nested)
        parts.append(first if use is None else look.part("solver", use.solver, use, {}, *place))
    return parts


def _metrics(document: Document, spec: Spec, graph: Graph, look: Lookup) -> dict[str, Part]:
    """Metrics written as a list compare the exported chain with `data.rgb`."""
    default = {"prediction": spec.export.chain or "", "target": f"{DATA}rgb"}
    if isinstance(spec.metrics, list):
        if spec.metrics and not spec.export.chain:
            raise document.error("spec.metrics-need-chain", "metrics")
        uses = {name: MetricUse(metric=name, inputs=default) for name in spec.metrics}
    else:
        uses = dict(spec.metrics)
    if uses and HOLDOUT not in spec.data:
        raise document.error("spec.metrics-need-holdout", "metrics")
    parts = {}
    for position, (name, use) in enumerate(uses.items()):
        place = ("metrics", position) if isinstance(spec.metrics, list) else ("metrics", name)
        parts[name] = look.part("metric", use.metric, use, use.inputs or default, *place)
        check_call(parts[name])
        for port, tensor in parts[name].inputs.items():
            check_tensor(document, graph.producer, tensor, *place, "inputs", port)
    return parts
