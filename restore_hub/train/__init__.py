"""Builds what a spec names and trains it, stage by stage."""

from restore_hub.train.agreement import check_hypergradients
from restore_hub.train.contest import compare_solvers
from restore_hub.train.forecast import forecast
from restore_hub.train.loop import StageResult
from restore_hub.train.publish import export_run, export_spec
from restore_hub.train.quantise import open_judge, quantise
from restore_hub.train.ranks import is_first
from restore_hub.train.run import Result, run

__all__ = [
    "Result",
    "StageResult",
    "check_hypergradients",
    "compare_solvers",
    "export_run",
    "export_spec",
    "forecast",
    "is_first",
    "open_judge",
    "quantise",
    "run",
]
