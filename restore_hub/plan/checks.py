"""Checks of a spec's wiring, levels and export against the components it names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from restore_hub.errors import BilevelError, nearest
from restore_hub.plan.lookup import Part
from restore_hub.spec import (
    DATA,
    HOLDOUT,
    Document,
    Graph,
    Level,
    Scope,
    Spec,
    check_made,
    check_solvers,
    check_stages,
    level_place,
    weights_of,
)


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
    graph: Graph,
    datasets: Mapping[str, Part],
    losses: Mapping[str, Part],
    metrics: Mapping[str, Part],
) -> None:
    """Check that the dataset of each split has the `data.<name>` that its uses need, and that some dataset has each.

    A level needs what its objective is made from, and metrics likewise what they compare on `holdout`.

    Raises:
        SpecError: a dataset doesn't have it.
    """
    having = {split: [DATA + name for name in part.target.ports] for split, part in datasets.items()}
    needed = _needed_data(spec, graph, having, metrics)
    wired: list[tuple[tuple[str, ...], Mapping[str, str]]] = [
        (("blocks", name), block.tensors) for name, block in spec.blocks.items()
    ]
    wired += [(("objectives", name), part.inputs) for name, part in losses.items()]
    wired += [(("metrics", name), part.inputs) for name, part in metrics.items()]
    for place, inputs in wired:
        for port, tensor in inputs.items():
            if not tensor.startswith(DATA):
                continue
            lacking = [split for split, known in having.items() if tensor in needed[split] and tensor not in known]
            if lacking or (having and not any(tensor in known for known in having.values())):
                split = lacking[0] if lacking else next(iter(having))
                known, mend = having[split], nearest(tensor, having[split])
                facts = {"split": split, "tensor": tensor, "known": ", ".join(known)}
                raise document.error("spec.no-data-tensor", *place, "inputs", port, mend=mend, **facts)


def _needed_data(
    spec: Spec, graph: Graph, having: Mapping[str, Collection[str]], metrics: Mapping[str, Part]
) -> dict[str, frozenset[str]]:
    """Return the tensors that each split must have."""
    read: dict[str, set[str]] = {split: set() for split in spec.data}
    for level in (level for stage in spec.stages for level in stage.levels):
        losses = [spec.objectives[name] for name in weights_of(level.objective) if name in spec.objectives]
        splits = [split for split in level.splits if split in read]  # `check_levels` refuses unknown names
        for split, tensors in _readings(graph, having, splits, [set(loss.inputs.values()) for loss in losses]):
            read[split] |= tensors
    for part in metrics.values():
        read.setdefault(HOLDOUT, set()).update(part.inputs.values())
    return {split: graph.needs(tensors).data for split, tensors in read.items()}


def _readings(
    graph: Graph, having: Mapping[str, Collection[str]], splits: Sequence[str], losses: Sequence[set[str]]
) -> Iterator[tuple[str, set[str]]]:
    """Yield what each split of a level is read for: each loss needs a split that has its data, and each split a loss.

    What lacks the other is read together with the first one, so that the error names what is missing there.
    """
    able = [[split for split in splits if graph.needs(tensors).data <= set(having[split])] for tensors in losses]
    for tensors, found in zip(losses, able, strict=True):
        yield from ((split, tensors) for split in found or splits[:1])
    served = {split for found in able for split in found}
    yield from ((split, losses[0]) for split in splits if split not in served and losses)


def check_levels(document: Document, spec: Spec, graph: Graph, solvers: Mapping[int, Sequence[Part]]) -> list[str]:
    """Check the stages of a chain against its graph; return remarks that a person should read.

    Raises:
        SpecError: see `check_stages`.
    """

    def reach(level: Level) -> frozenset[str]:
        tensors = [t for name in weights_of(level.objective) for t in spec.objectives[name].inputs.values()]
        return graph.upstream(tensors)

    scope = Scope(spec.blocks, spec.objectives, spec.data, reach)
    return check_stages(document, spec, scope, {i: [part.target for part in parts] for i, parts in solvers.items()})


def check_steps(document: Document, spec: Spec, solvers: Mapping[int, Sequence[Part]]) -> None:
    """Check that every solver takes the options, the levels and the number of lower steps that its stage gives.

    Raises:
        SpecError: it refuses one.
    """
    for index, stage in enumerate(spec.stages):
        check_solvers(document, index, stage, [part.target for part in solvers[index]])
        for number, part in enumerate(solvers[index]):
            lower = min(number + 1, len(stage.levels) - 1)
            try:
                part.make().evaluations(stage.levels[lower].steps)
            except BilevelError as error:
                keys = (*level_place(document, index, lower), "steps") if lower else part.place
                raise document.located(error, *keys) from None


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
