"""A spec with every name looked up and every option checked, ready to be made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restore_hub.contracts import Port
from restore_hub.plan.checks import check_call, check_data_tensors, check_export, check_levels, check_steps
from restore_hub.plan.lookup import Lookup, Part, require_plugins
from restore_hub.plan.metric_choice import choose_metrics
from restore_hub.plan.tasks import expand
from restore_hub.registry import Component, Registry
from restore_hub.spec import Document, Graph, Spec, Stage, build_graph, level_place, parse
from restore_hub.spec.models import Block


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a run is made of: a chain of blocks, or a problem (and then the tables of the chain are empty).

    A stage has a solver for each pair of adjacent levels, upper first, or one for its only level.

    Attributes:
        written: the spec as it's in the file, with its tasks.
        spec: the same with the blocks and objectives that the tasks stand for. All else here is about it.
        tasks: by the name of their block.
        targets: of each task, by name.
        remarks: things that a person should read, though nothing is wrong.
    """

    document: Document
    written: Spec
    spec: Spec
    tasks: Mapping[str, Part]
    targets: Mapping[str, Mapping[str, Port]]
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
        found = {part.component for part in self.parts()}
        return sorted(found, key=lambda c: (c.kind, c.name))

    def parts(self) -> list[Part]:
        """Return every part, those nested in others included."""
        tables: list[Mapping[Any, Part]] = [self.networks, self.losses, self.metrics, self.datasets]
        parts = [part for table in tables for part in table.values()]
        parts += [part for solvers in self.solvers.values() for part in solvers]
        parts += [part for part in (self.tracker, self.problem) if part]
        return [part for outer in parts for part in outer.parts()]


def make_plan(document: Document, registry: Registry) -> Plan:
    """Check a document against what is registered; `check_problem` checks the names of a problem once it's made.

    Raises:
        SpecError: anything wrong in the file, at its place.
    """
    written = parse(document)
    require_plugins(document, written, registry)
    look = Lookup(document, registry)
    datasets = {
        name: look.part("dataset", split.dataset, split, {}, "data", name) for name, split in written.data.items()
    }
    expansion = expand(written, look)
    spec, pieces = expansion.spec, expansion.pieces
    graph = build_graph(document, spec)
    networks = {
        name: pieces.get(("network", name)) or look.part("network", block.network, block, block.tensors, "blocks", name)
        for name, block in spec.blocks.items()
        if isinstance(block, Block)
    }
    losses = {
        name: pieces.get(("loss", name)) or look.part("loss", use.loss, use, use.inputs, "objectives", name)
        for name, use in spec.objectives.items()
    }
    solvers = {index: _solvers(look, index, stage) for index, stage in enumerate(spec.stages)}
    problem = look.part("problem", spec.problem.problem, spec.problem, {}, "problem") if spec.problem else None
    if spec.problem is None:
        check_export(document, spec, graph)
    metrics = {} if problem and not spec.data else choose_metrics(expansion, graph, look)
    use = spec.tracker
    tracker = look.part("tracker", use.tracker, use, {}, "tracker") if use else None
    for part in losses.values():
        check_call(part)
    check_data_tensors(document, spec, graph, datasets, losses, metrics)
    check_steps(document, spec, solvers)
    remarks = [] if problem else check_levels(document, spec, graph, solvers)
    return Plan(
        document,
        written,
        spec,
        expansion.tasks,
        expansion.targets,
        graph,
        networks,
        losses,
        metrics,
        datasets,
        solvers,
        tracker,
        problem,
        tuple(remarks),
    )


def _solvers(look: Lookup, index: int, stage: Stage) -> list[Part]:
    """Return the solver of each pair of levels: a level's own, or else the stage's."""
    first = look.part("solver", stage.solver, stage, {}, "stages", index)
    parts = [first]
    for number, level in list(enumerate(stage.levels))[1:-1]:
        place = (*level_place(look.document, index, number), "solver")
        use = level.solver
        parts.append(first if use is None else look.part("solver", use.component, use, {}, *place))
    return parts
