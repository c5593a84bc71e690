"""The spec language: from YAML to models and a checked graph. Nothing here imports torch."""

from restore_hub.spec.argument import Argument, read_argument
from restore_hub.spec.graph import DATA, Graph, build_graph, check_made, check_tensor
from restore_hub.spec.levels import HOLDOUT, Scope, check_solvers, check_stages
from restore_hub.spec.models import Level, Spec, Stage, weights_of
from restore_hub.spec.parse import parse
from restore_hub.spec.reader import Document, read_spec
from restore_hub.spec.stages import level_place, written_schema

__all__ = [
    "DATA",
    "HOLDOUT",
    "Argument",
    "Document",
    "Graph",
    "Level",
    "Scope",
    "Spec",
    "Stage",
    "build_graph",
    "check_made",
    "check_solvers",
    "check_stages",
    "check_tensor",
    "level_place",
    "parse",
    "read_argument",
    "read_spec",
    "weights_of",
    "written_schema",
]
