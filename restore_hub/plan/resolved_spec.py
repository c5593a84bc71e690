"""The resolved spec: what exactly ran, with qualified names, versions and hashes of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from restore_hub import __version__
from restore_hub.contracts import INJECTED
from restore_hub.files import file_hash
from restore_hub.options import options_of
from restore_hub.plan.lookup import Part
from restore_hub.plan.plan import Plan
from restore_hub.spec.models import CHAIN_KEYS


def resolve(plan: Plan) -> dict[str, Any]:
    """Return the spec as plain values: defaults filled in, names qualified, components with their versions."""
    spec = plan.spec.model_dump(mode="json", exclude_none=True)
    for table, kind, parts in (
        ("blocks", "network", plan.networks),
        ("objectives", "loss", plan.losses),
        ("data", "dataset", plan.datasets),
    ):
        for name, part in parts.items():
            spec[table][name].update(_options(part), **{kind: part.component.name})
    for index, solvers in plan.solvers.items():
        stage = spec["stages"][index]
        stage.update(_options(solvers[0]), solver=solvers[0].component.name)
        for number, part in enumerate(solvers[1:], 1):
            stage["levels"][number]["solver"] = {"solver": part.component.name, **_options(part)}
    if plan.tracker:
        spec["tracker"].update(_options(plan.tracker), tracker=plan.tracker.component.name)
    if plan.problem:
        spec["problem"].update(_options(plan.problem), problem=plan.problem.component.name)
        for key in (*CHAIN_KEYS, "export"):
            del spec[key]
    spec["metrics"] = (
        plan.spec.metrics
        if plan.problem
        else {
            name: {"metric": part.component.name, "inputs": dict(part.inputs), **_options(part)}
            for name, part in plan.metrics.items()
        }
    )
    weights = {
        name: file_hash(Path(block.weights)) for name, block in plan.spec.blocks.items() if block.weights is not None
    }
    components = {f"{c.kind} {c.name}": {"owner": c.owner, "version": c.version} for c in plan.components()}
    return {
        "restore_hub": __version__,
        "source": str(plan.document.path),
        "spec": spec,
        "components": components,
        "weights_sha256": weights,
    }


def _options(part: Part) -> dict[str, Any]:
    """Return the options in use with the component's defaults, so a default changed later changes no rerun."""
    injected = INJECTED.get(part.component.kind, frozenset())
    defaults = {o.name: o.default for o in options_of(part.target, injected) if not o.required}
    used = {**defaults, **part.options}
    return {key: str(value) if isinstance(value, Path) else value for key, value in used.items() if value is not None}
