"""Ways to go on from one warm start for the same time, on the same photographs: with levels and without."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SOLVERS = ("ibgl", "alternating", "joint")


def go_on(document: Mapping[str, Any], solver: str, weights: Path, seconds: float) -> list[str]:
    """Return the overrides that turn the pipeline into one stage of a solver, from a warm start.

    All clip, schedule and read the data alike. `ibgl` is the pipeline's second stage, `alternating` the same without
    the response. `joint` has no levels: it goes on with the first stage, at the rate of the second one's upper level.

    Args:
        document: the pipeline `few_references`.
        solver: one of `SOLVERS`.
        weights: the warm start.
        seconds: of training.
    """
    warm, bilevel = ({k: v for k, v in stage.items() if k != "steps"} for stage in document["stages"])
    stage = {**warm, "lr": bilevel["upper"]["lr"]} if solver == "joint" else {**bilevel, "solver": solver}
    stages = json.dumps([{**stage, "minutes": seconds / 60}])
    return [*(f"blocks.{name}.weights={weights}" for name in document["blocks"]), f"stages={stages}"]
