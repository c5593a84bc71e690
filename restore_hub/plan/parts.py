"""A spec with every name looked up, every option and port checked: all that can be known before training."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn
from torch.nn.parameter import is_lazy

from restore_hub.contracts import INJECTED, Port
from restore_hub.errors import (
    BilevelError,
    OptionError,
    PluginError,
    RestoreHubError,
    UnknownComponentError,
    did_you_mean,
)
from restore_hub.options import check_options, tensors_of
from restore_hub.registry import Component, Registry
from restore_hub.spec import (
    DATA,
    HOLDOUT,
    Document,
    Graph,
    Ground,
    Level,
    Spec,
    build_graph,
    check_stages,
    check_tensor,
    parse,
    weights_of,
)
from restore_hub.spec.models import MetricUse, WithOptions

T = TypeVar("T")
NOT_LAZY = "give its layer the number of channels, in place of a lazy one"


@dataclass(frozen=True, slots=True)
class Part:
    """A component with checked options, ready to be made, and the tensors it reads."""

    component: Component
    target: Any
    options: Mapping[str, Any]
    inputs: Mapping[str, str]

    def make(self) -> Any:
        """Construct the component.

        Raises:
            OptionError: it refuses an option, or raises anything else; or has lazy layers, whose sizes are not known.
        """
        try:
            made = self.target(**self.options)
        except RestoreHubError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise OptionError(f"{self.component.name} cannot be made: {type(error).__name__}: {reason}") from error
        lazy = lazy_tensor(made)
        if lazy:
            raise OptionError(f"{self.component.name} cannot be used: its {lazy} has no size yet; {NOT_LAZY}")
        return made


def lazy_tensor(made: Any) -> str:
    """Return the name of a module's first parameter or buffer that waits for a first call; empty without one."""
    if not isinstance(made, nn.Module):
        return ""
    return next((name for name, t in (*made.named_parameters(), *made.named_buffers()) if is_lazy(t)), "")


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
    _require_plugins(document, spec, registry)
    look = _Lookup(document, registry)
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
        _check_call(document, part, "objectives", name)
    _check_data_tensors(document, spec, datasets, losses, metrics)
    _check_export(document, spec, graph)
    remarks = [] if problem else _check_levels(document, spec, graph, solvers)
    _check_lower_steps(document, spec, solvers)
    return Plan(document, spec, graph, networks, losses, metrics, datasets, solvers, tracker, problem, tuple(remarks))


@dataclass(frozen=True, slots=True)
class _Lookup:
    """Turns a name and options at a place of the file into a `Part`."""

    document: Document
    registry: Registry

    def part(self, kind: str, name: str, use: WithOptions, inputs: Mapping[str, str], *place: str | int) -> Part:
        component = self._at(lambda: self.registry.find(kind, name), *place, kind)
        target = self._at(component.load, *place, kind)
        if kind in ("loss", "metric") and not inspect.isclass(target):
            text = f"{component.name} of {component.owner} is no class; write one whose `__call__` takes the tensors"
            raise self.document.error(text, *place, kind)
        try:
            options = check_options(component.name, target, use.options, skip=INJECTED.get(kind, frozenset()))
        except OptionError as error:
            hint = self._without(use, str(error), *place, error.option) if "has no option" in str(error) else ""
            raise self.document.error(f"{error}{hint}", *place, error.option) from None
        return Part(component, target, options, inputs)

    def _without(self, use: WithOptions, error: str, *place: str | int) -> str:
        """Say what to do about an option that a component does not have: write it right, or leave it out."""
        reserved = did_you_mean(str(place[-1]), type(use).model_fields)
        if reserved or "did you mean" in error or place in self.document.overridden:
            return reserved
        return f"; `--set {'.'.join(map(str, place))}=` leaves it out"

    def _at(self, call: Callable[[], T], *place: str | int) -> T:
        try:
            return call()
        except (UnknownComponentError, PluginError) as error:
            raise self.document.error(str(error), *place) from error


def _require_plugins(document: Document, spec: Spec, registry: Registry) -> None:
    namespaces = {name.partition("/")[0] for name in registry.names()}
    for index, plugin in enumerate(spec.plugins):
        if plugin in registry.failures:
            raise document.error(f"plugin {plugin!r} failed to load: {registry.failures[plugin]}", "plugins", index)
        if plugin not in namespaces:
            hint = did_you_mean(plugin, namespaces) or "; install it, or pass its file with --plugin"
            raise document.error(f"plugin {plugin!r} is not installed{hint}", "plugins", index)


def _metrics(document: Document, spec: Spec, graph: Graph, look: _Lookup) -> dict[str, Part]:
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
        _check_call(document, parts[name], *place)
        for port, tensor in parts[name].inputs.items():
            check_tensor(document, graph.producer, tensor, *place, "inputs", port)
    return parts


def _check_call(document: Document, part: Part, *place: str | int) -> None:
    """Compare the tensors wired to a loss or metric with the parameters it is called with."""
    parameters = tensors_of(part.target)
    known = [p.name for p in parameters]
    none = "none by name: it is to have a parameter for each tensor, as `prediction, target`"
    for given in part.inputs:
        if given not in known:
            hint = did_you_mean(given, known) or f"; it takes {', '.join(known) or none}"
            raise document.error(f"{part.component.name} has no input {given!r}{hint}", *place, "inputs", given)
    for parameter in parameters:
        if parameter.default is parameter.empty and parameter.name not in part.inputs:
            raise document.error(f"{part.component.name} needs the input {parameter.name!r}", *place, "inputs")


def _check_data_tensors(
    document: Document,
    spec: Spec,
    datasets: Mapping[str, Part],
    losses: Mapping[str, Part],
    metrics: Mapping[str, Part],
) -> None:
    """Every `data.<name>` in use must be a port of every split's dataset."""
    wired: list[tuple[tuple[str, ...], Mapping[str, str]]] = [
        (("blocks", name), block.inputs) for name, block in spec.blocks.items()
    ]
    wired += [(("objectives", name), part.inputs) for name, part in losses.items()]
    wired += [(("metrics", name), part.inputs) for name, part in metrics.items()]
    for place, inputs in wired:
        for port, tensor in inputs.items():
            if not tensor.startswith(DATA):
                continue
            for split, part in datasets.items():
                ports: Mapping[str, Port] = part.target.ports
                if tensor.removeprefix(DATA) not in ports:
                    known = [DATA + p for p in ports]
                    hint = did_you_mean(tensor, known) or f"; it has {', '.join(known)}"
                    raise document.error(
                        f"the dataset of split {split!r} has no {tensor!r}{hint}", *place, "inputs", port
                    )


def _check_levels(document: Document, spec: Spec, graph: Graph, solvers: Mapping[int, Part]) -> list[str]:
    def reach(level: Level) -> frozenset[str]:
        tensors = [t for name in weights_of(level.objective) for t in spec.objectives[name].inputs.values()]
        return graph.upstream(tensors)

    ground = Ground(spec.blocks, spec.objectives, spec.data, reach)
    return check_stages(document, spec, ground, {index: part.target for index, part in solvers.items()})


def _check_lower_steps(document: Document, spec: Spec, solvers: Mapping[int, Part]) -> None:
    """Refuse a number of lower steps that a solver cannot take, and options that it refuses itself."""
    for index, stage in enumerate(spec.stages):
        place = ("stages", index, "lower", "steps") if stage.lower else ("stages", index)
        try:
            solvers[index].make().evaluations(stage.lower.steps if stage.lower else 1)
        except BilevelError as error:
            raise document.error(str(error), *place) from None
        except OptionError as error:
            raise document.error(str(error), "stages", index, error.option) from None


def _check_export(document: Document, spec: Spec, graph: Graph) -> None:
    for index, block in enumerate(spec.export.blocks):
        if block not in spec.blocks:
            hint = did_you_mean(block, spec.blocks)
            raise document.error(f"unknown block {block!r}{hint}", "export", "blocks", index)
    chain = spec.export.chain
    if chain is not None and chain not in graph.producer:
        hint = did_you_mean(chain, graph.producer) or f"; blocks make {', '.join(graph.producer)}"
        raise document.error(f"nothing makes the tensor {chain!r}{hint}", "export", "chain")
