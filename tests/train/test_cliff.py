"""A run whose holdout falls off a cliff says so."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from restore_hub import run
from restore_hub.train.cliff import fell
from support import LOWLIGHT


@pytest.mark.parametrize(
    ("value", "best", "higher", "cliff"),
    [
        (13.91, 24.51, True, True),
        (23.44, 23.59, True, False),
        (math.nan, 24.0, True, True),
        (24.0, None, True, False),
        (0.4, 0.7, True, True),
        (0.021, 0.02, False, False),
        (0.05, 0.02, False, True),
        (math.nan, 0.02, False, True),
        (math.inf, math.inf, True, False),
        (-3.0, -2.9, True, False),
    ],
)
def test_a_cliff_is_more_than_an_ordinary_fall(value: float, best: float | None, higher: bool, cliff: bool) -> None:
    assert fell(value, best, higher) == cliff


def test_a_run_that_diverges_says_so(small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second stage's steps are far too long."""
    diverging = ["stages.1={solver: joint, steps: 3, blocks: [generate], objective: fidelity, data: train, lr: 30}"]
    run(LOWLIGHT, overrides=[*small, "stages.0.lr=0.001", *diverging], out=tmp_path / "r")
    said = capsys.readouterr().out + (tmp_path / "r" / "log.txt").read_text()
    assert "holdout's psnr fell from" in said
    assert "`best` still holds the better weights" in said
