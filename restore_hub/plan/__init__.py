"""From a checked spec to networks, losses and data: everything a run is made of, before anything is trained."""

from restore_hub.plan.chain import Chain, Wires, build_chain
from restore_hub.plan.lookup import Part
from restore_hub.plan.plan import Plan, make_plan

__all__ = ["Chain", "Part", "Plan", "Wires", "build_chain", "make_plan"]
