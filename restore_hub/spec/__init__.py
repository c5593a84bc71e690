"""The spec language: YAML to models to a checked graph. Nothing here imports torch."""

from restore_hub.spec.graph import DATA, Graph, build_graph, check_tensor
from restore_hub.spec.levels import HOLDOUT, Ground, check_stages
from restore_hub.spec.models import Level, LowerLevel, Spec, Stage, weights_of
from restore_hub.spec.parse import parse
from restore_hub.spec.reader import Document, read_spec

__all__ = [
    "DATA",
    "HOLDOUT",
    "Document",
    "Graph",
    "Ground",
    "Level",
    "LowerLevel",
    "Spec",
    "Stage",
    "build_graph",
    "check_stages",
    "check_tensor",
    "parse",
    "read_spec",
    "weights_of",
]
