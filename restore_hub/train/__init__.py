"""Builds what a spec names and trains it, stage by stage."""

from restore_hub.train.ranks import is_first
from restore_hub.train.run import Result, run

__all__ = ["Result", "is_first", "run"]
