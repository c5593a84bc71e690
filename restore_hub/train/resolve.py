"""The resolved spec: what exactly ran, with qualified names, versions and hashes of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from restore_hub import __version__
from restore_hub.plan.parts import Plan
from restore_hub.train.weights import file_hash


def resolve(plan: Plan) -> dict[str, Any]:
    """Return the spec as plain values: defaults filled in, names qualified, components with their versions."""
    spec = plan.spec.model_dump(mode="json", exclude_none=True)
    for table, kind, parts in (
        ("blocks", "network", plan.networks),
        ("objectives", "loss", plan.losses),
        ("data", "dataset", plan.datasets),
    ):
        for name, part in parts.items():
            spec[table][name][kind] = part.component.name
    for index, part in plan.solvers.items():
        spec["stages"][index]["solver"] = part.component.name
    spec["metrics"] = {
        name: {"metric": part.component.name, "inputs": dict(part.inputs), **_plain(part.options)}
        for name, part in plan.metrics.items()
    }
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


def _plain(options: Any) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}
