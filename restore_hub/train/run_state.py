"""Where a run stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from restore_hub.train.recording.recorder import Recorder
from restore_hub.train.setup import Setup
from restore_hub.train.stopping import StopRequest


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run stands.

    Attributes:
        stage: index of the stage.
        step, seconds: how many of its steps are done, and how long they took.
        solver: the `state_dict()` of its `Stepper`; `None` before the stage's first step.
    """

    stage: int = 0
    step: int = 0
    seconds: float = 0.0
    solver: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StageResult:
    """What one stage took and reached.

    Attributes:
        solver: its name in the spec.
        steps, seconds: outer steps, and how long they took.
        evaluations: energy gradients computed (forward and backward passes).
        metrics: holdout means at its end.
    """

    solver: str
    steps: int
    seconds: float
    evaluations: int
    metrics: Mapping[str, float]


@dataclass(kw_only=True)
class Run(Setup):
    """A run under way: where it stands, and where it is recorded.

    Attributes:
        verbose: whether each step's values are printed.
        step: outer steps over all stages.
        best: best mean of the first metric so far.
        stale: evaluations since then.
        stages: results of the stages that have ended.
    """

    recorder: Recorder
    stop: StopRequest = field(default_factory=StopRequest)
    verbose: bool = False
    step: int = 0
    best: float | None = None
    stale: int = 0
    stages: list[StageResult] = field(default_factory=list)
