"""Tasks in a spec: each becomes blocks, objectives and metrics before the graph is built; nothing else sees a task."""

from restore_hub.plan.tasks.expand import Expansion, expand
from restore_hub.plan.tasks.piece import Piece

__all__ = ["Expansion", "Piece", "expand"]
