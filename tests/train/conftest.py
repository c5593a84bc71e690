"""One real run of the small pipeline, made once for all tests that look at it."""

from __future__ import annotations

from pathlib import Path

import pytest

from restore_hub import run
from restore_hub.train import Result

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "blocks.generate.width=2",
    "blocks.generate.depth=1",
    "data.train.crop=16",
    "data.upper.crop=16",
    "tracker=",
    "stages.0.steps=3",
    "stages.1.steps=2",
    "stages.1.lower.steps=2",
)


@pytest.fixture(scope="session")
def small(pairs: Path) -> list[str]:
    """Return overrides for a run of a second or two."""
    return [*SMALL, *(f"data.{split}.root={pairs / split}" for split in ("train", "upper", "holdout"))]


@pytest.fixture(scope="session")
def finished(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Return the result of the shipped pipeline, run small."""
    return run(ROOT / "pipelines" / "raw_lowlight.yaml", overrides=small, out=tmp_path_factory.mktemp("run") / "r")
