"""Builds what a spec names and trains it, stage by stage."""

from restore_hub.train.loop import StageResult
from restore_hub.train.publish import export_run
from restore_hub.train.run import Result, run

__all__ = ["Result", "StageResult", "export_run", "run"]
