"""From a checked spec to networks, losses and data: everything a run is made of, before anything is trained.

Importing this package imports no torch, which the data sets and metrics of a spec don't need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["Chain", "Part", "Plan", "Wires", "build_chain", "make_plan"]

if TYPE_CHECKING:
    from restore_hub.plan.chain import Chain, Wires, build_chain
    from restore_hub.plan.lookup import Part
    from restore_hub.plan.plan import Plan, make_plan

_LAZY = {
    "Chain": "chain",
    "Wires": "chain",
    "build_chain": "chain",
    "Part": "lookup",
    "Plan": "plan",
    "make_plan": "plan",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'restore_hub.plan' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"restore_hub.plan.{_LAZY[name]}"), name)
