"""Checks of a spec's wiring, levels and export against the components it names."""

from __future__ import annotations

from collections.abc import Mapping

from restore_hub.contracts import Port
from restore_hub.errors import BilevelError, nearest
from restore_hub.plan.lookup import Part
from restore_hub.spec import DATA, Document, Graph, Level, Scope, Spec, check_made, check_stages, weights_of


def check_call(part: Part) -> None:
    """Compare the tensors wired to a loss or metric with the parameters it is called with.

    Raises:
        SpecError: a parameter that doesn't exist, or one that has no tensor.
    """
    parameters = part.tensors()
    known, component = [p.name for p in parameters], part.component.name
    for port in part.inputs:
        if not known:
            raise part.error("spec.no-named-inputs", "inputs", port, component=component, port=port)
        if port not in known:
            facts = {"component": component, "port": port, "known": ", ".join(known)}
            raise part.error("spec.no-input", "inputs", port, mend=nearest(port, known), **facts)
    for parameter in parameters:
        if parameter.default is parameter.empty and parameter.name not in part.inputs:
            raise part.error("spec.missing-input", "inputs", component=component, port=parameter.name)


def check_data_tensors(
    document: Document,
    spec: Spec,
    datasets: Mapping[str, Part],
    losses: Mapping[str, Part],
    metrics: Mapping[str, Part],
) -> None:
    """Check that every `data.<name>` in use is a port of every split's dataset.

    Raises:
        SpecError: a dataset doesn't have it.
    """
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
                    facts = {"split": split, "tensor": tensor, "known": ", ".join(known)}
                    mend = nearest(tensor, known)
                    raise document.error("spec.no-data-tensor", *place, "inputs", port, mend=mend, **facts)


def check_levels(document: Document, spec: Spec, graph: Graph, solvers: Mapping[int, Part]) -> list[str]:
    """Check the stages of a chain against its graph; return remarks that a person should read.

    Raises:
        SpecError: see `check_stages`.
    """

    def reach(level: Level) -> frozenset[str]:
        tensors = [t for name in weights_of(level.objective) for t in spec.objectives[name].inputs.values()]
        return graph.upstream(tensors)

    scope = Scope(spec.blocks, spec.objectives, spec.data, reach)
    return check_stages(document, spec, scope, {index: part.target for index, part in solvers.items()})


def check_lower_steps(spec: Spec, solvers: Mapping[int, Part]) -> None:
    """Check that every solver takes the options and the number of lower steps that its stage gives.

    Raises:
        SpecError: it refuses one.
    """
    for index, stage in enumerate(spec.stages):
        solver = solvers[index].make()
        try:
            solver.evaluations(stage.levels[-1].steps)
        except BilevelError as error:
            keys = ("lower", "steps") if len(stage.levels) > 1 else ()
            raise solvers[index].located(error, *keys) from None


def check_export(document: Document, spec: Spec, graph: Graph) -> None:
    """Check the blocks and the tensor to export.

    Raises:
        SpecError: one that doesn't exist.
    """
    for index, block in enumerate(spec.export.blocks):
        if block not in spec.blocks:
            facts = {"kind": "block", "name": block, "known": ", ".join(spec.blocks)}
            mend = nearest(block, spec.blocks)
            raise document.error("spec.unknown-name", "export", "blocks", index, mend=mend, **facts)
    chain = spec.export.chain
    if chain is not None:
        check_made(document, graph.producer, chain, "export", "chain")
