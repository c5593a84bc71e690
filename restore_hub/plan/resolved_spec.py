"""The resolved spec: what exactly ran, with qualified names, versions and hashes of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from restore_hub import __version__
from restore_hub.contracts import INJECTED
from restore_hub.files import file_hash
from restore_hub.nested import swap
from restore_hub.options import options_of
from restore_hub.plan.chain import build_chain
from restore_hub.plan.lookup import Part
from restore_hub.plan.plan import Plan
from restore_hub.plan.tasks.piece import Piece
from restore_hub.spec.models import CHAIN_KEYS, PROBLEM_LACKS


def resolve(plan: Plan) -> dict[str, Any]:
    """Return the spec as plain values: defaults filled in, names qualified, components with their versions."""
    written = plan.written
    spec = written.model_dump(mode="json", exclude_none=True)
    for table, kind, parts in (
        ("blocks", "network", plan.networks),
        ("blocks", "task", plan.tasks),
        ("objectives", "loss", plan.losses),
        ("data", "dataset", plan.datasets),
    ):
        for name, part in parts.items():
            if part.kind == part.component.kind:  # a part that a task brings isn't written
                spec[table][name].update(_options(part), **{kind: part.component.name})
    for name, numbers in _numbers(plan).items():
        spec["blocks"][name]["inputs"].update(numbers)
    for index, solvers in plan.solvers.items():
        stage = spec["stages"][index]
        stage.update(_options(solvers[0]), solver=solvers[0].component.name)
        for number, part in enumerate(solvers[1:], 1):
            stage["levels"][number]["solver"] = {"solver": part.component.name, **_options(part)}
    if plan.tracker:
        spec["tracker"].update(_options(plan.tracker), tracker=plan.tracker.component.name)
    if plan.problem:
        spec["problem"].update(_options(plan.problem), problem=plan.problem.component.name)
        for key in PROBLEM_LACKS if plan.spec.data else (*CHAIN_KEYS, "export"):
            del spec[key]
    own = plan.problem and not plan.spec.data
    spec["metrics"] = plan.spec.metrics if own else {name: _metric(part) for name, part in plan.metrics.items()}
    weights = {
        name: file_hash(Path(block.weights)) for name, block in plan.spec.blocks.items() if block.weights is not None
    }
    for part in plan.parts():
        if part.weights is not None:
            weights[".".join(map(str, part.place))] = file_hash(part.weights)
    components = {f"{c.kind} {c.name}": {"owner": c.owner, "version": c.version} for c in plan.components()}
    return {
        "restore_hub": __version__,
        "source": str(plan.document.path),
        "spec": spec,
        "components": components,
        "weights_sha256": weights,
    }


def _numbers(plan: Plan) -> dict[str, dict[str, float]]:
    """Return the numbers that each block runs with, by input port: the spec's, or else the port's default."""
    if plan.problem:
        return {}
    with torch.random.fork_rng(devices=[]):
        chain = build_chain(plan, "meta")
    wires = {name: chain.inputs_of(name) for name in plan.written.blocks}
    return {
        name: {port: chain.numbers[tensor] for port, tensor in inputs.items() if tensor in chain.numbers}
        for name, inputs in wires.items()
    }


def _metric(part: Part) -> dict[str, Any]:
    own = {"metric": part.name} if isinstance(part, Piece) else {"metric": part.component.name, **_options(part)}
    return {**own, "inputs": dict(part.inputs)}


def _options(part: Part) -> dict[str, Any]:
    """Return the options in use with the component's defaults, so a default changed later changes no rerun."""
    injected = INJECTED.get(part.component.kind, frozenset())
    # What a component makes by default where it takes another is no plain value.
    defaults = {o.name: o.default for o in options_of(part.target, injected) if not (o.required or o.nested)}
    used = swap({**defaults, **part.options}, Part, _nested)
    return {key: str(value) if isinstance(value, Path) else value for key, value in used.items() if value is not None}


def _nested(part: Part, _: object) -> dict[str, Any]:
    file = {} if part.weights is None else {"weights": str(part.weights)}
    return {part.component.kind: part.component.name, **file, **_options(part)}
