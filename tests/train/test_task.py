"""A toy segmenter as a task of a spec: trained as the lower and as the upper level, measured, exported, repeated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from restore_hub import run

Files = tuple[Path, list[Path]]


def test_it_is_the_lower_level(segmenter: Files, tmp_path: Path) -> None:
    path, plugins = segmenter
    few = run(path, overrides=["stages.0.steps=1"], plugins=plugins, out=tmp_path / "few")
    result = run(path, plugins=plugins, out=tmp_path / "run")
    print(few.metrics, result.metrics)
    assert few.metrics["segment.miou"] < 0.7 < result.metrics["segment.miou"]
