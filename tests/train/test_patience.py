"""A stage ends when measuring brings nothing better, and so it does after a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from restore_hub import run
from restore_hub.evaluate.scores import Scores
from restore_hub.train.problems.chain import TrainableChain
from support import LOWLIGHT, refused
from support.runs import journal, stop_after

# Best at the third measurement of the first stage; the second stage finds one better, then two that are not.
SCORES = [1.0, 3.0, 5.0, 4.0, 5.0, 6.0, 2.0, 2.0, 2.0, 2.0]
SETTINGS = ["stages.0.steps=20", "stages.1.steps=20", "stages.0.patience=2", "stages.1.patience=2", "validate_every=1"]


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace measuring by scores that follow the step."""
    steps: dict[int, int] = {}

    def evaluate(trainable: TrainableChain, _: Any = None) -> Scores:
        key = hash(tuple(float(p.detach().double().sum()) for p in trainable.blocks.parameters()))
        place = steps.setdefault(key, len(steps))
        return Scores({"psnr": SCORES[place], "ssim": 0.0})

    monkeypatch.setattr(TrainableChain, "evaluate", evaluate)


@pytest.mark.usefixtures("scored")
def test_stages_end_early_and_each_begins_to_count_anew(small: list[str], tmp_path: Path) -> None:
    result = run(LOWLIGHT, overrides=[*small, *SETTINGS], out=tmp_path / "r")
    assert [stage.steps for stage in result.stages] == [5, 3]
    assert [stage.metrics["psnr"] for stage in result.stages] == [5.0, 2.0]
    lines = journal(tmp_path / "r")
    assert [line["holdout/psnr"] for line in lines if "holdout/psnr" in line] == SCORES[:8], "measured once a step"
    assert torch.load(tmp_path / "r" / "checkpoints" / "best.pt")["about"]["step"] == 6


@pytest.mark.usefixtures("scored")
@pytest.mark.parametrize("steps", [3, 4, 7])
def test_a_resumed_run_stops_at_the_same_step(small: list[str], tmp_path: Path, steps: int) -> None:
    overrides = [*small, *SETTINGS, "checkpoint_seconds=0"]
    stop_after(steps, overrides=overrides, out=tmp_path / "r")
    assert torch.load(tmp_path / "r" / "checkpoints" / "state.pt")["step"] == steps
    result = run(LOWLIGHT, overrides=overrides, out=tmp_path / "r", resume=True)
    assert [stage.steps for stage in result.stages] == [5, 3]


def test_patience_needs_measurements(small: list[str], tmp_path: Path) -> None:
    with refused("spec.unmeasured-patience", "stages.0.patience"):
        run(LOWLIGHT, overrides=[*small, "stages.0.patience=2"], out=tmp_path / "r")
