"""Checks of a spec's wiring, levels and export against the components it names."""

from __future__ import annotations

from collections.abc import Mapping

from restore_hub.contracts import Port
from restore_hub.errors import BilevelError, OptionError, did_you_mean
from restore_hub.options import tensors_of
from restore_hub.plan.lookup import Part
from restore_hub.spec import DATA, Document, Graph, Ground, Level, Spec, check_stages, weights_of


def check_call(document: Document, part: Part, *place: str | int) -> None:
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


def check_data_tensors(
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


def check_levels(document: Document, spec: Spec, graph: Graph, solvers: Mapping[int, Part]) -> list[str]:
    def reach(level: Level) -> frozenset[str]:
        tensors = [t for name in weights_of(level.objective) for t in spec.objectives[name].inputs.values()]
        return graph.upstream(tensors)

    ground = Ground(spec.blocks, spec.objectives, spec.data, reach)
    return check_stages(document, spec, ground, {index: part.target for index, part in solvers.items()})


def check_lower_steps(document: Document, spec: Spec, solvers: Mapping[int, Part]) -> None:
    """Refuse a number of lower steps that a solver cannot take, and options that it refuses itself."""
    for index, stage in enumerate(spec.stages):
        place = ("stages", index, "lower", "steps") if stage.lower else ("stages", index)
        try:
            solvers[index].make().evaluations(stage.lower.steps if stage.lower else 1)
        except BilevelError as error:
            raise document.error(str(error), *place) from None
        except OptionError as error:
            raise document.error(str(error), "stages", index, error.option) from None


def check_export(document: Document, spec: Spec, graph: Graph) -> None:
    for index, block in enumerate(spec.export.blocks):
        if block not in spec.blocks:
            hint = did_you_mean(block, spec.blocks)
            raise document.error(f"unknown block {block!r}{hint}", "export", "blocks", index)
    chain = spec.export.chain
    if chain is not None and chain not in graph.producer:
        hint = did_you_mean(chain, graph.producer) or f"; blocks make {', '.join(graph.producer)}"
        raise document.error(f"nothing makes the tensor {chain!r}{hint}", "export", "chain")
