"""One real run of the small pipeline, made once for all tests that look at it; a tracker in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from restore_hub import run
from restore_hub.contracts import Scalar
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


class FakeTracker:
    """A tracker in memory. `before` is called with a method's name first, and may raise or wait."""

    store = "fake"

    def __init__(self) -> None:
        self.before: Callable[[str], object] = str
        self.calls: list[str] = []
        self.scalars: list[Scalar] = []
        self.pictures: list[tuple[str, int, int]] = []
        self.artifacts: list[tuple[str, bool]] = []
        self.status = ""

    def _called(self, method: str) -> None:
        self.before(method)
        self.calls.append(method)

    def check(self) -> None:
        self._called("check")

    def start(self, name: str, tags: Mapping[str, str], run: str = "") -> str:
        self._called("start")
        self.name, self.tags, self.status = name, dict(tags), "RUNNING"
        return run or "run 1"

    def params(self, params: Mapping[str, Any]) -> None:
        self._called("params")

    def log(self, scalars: Sequence[Scalar]) -> None:
        assert 0 < len(scalars) <= 1000
        self._called("log")
        self.scalars += scalars

    def picture(self, name: str, image: NDArray[np.uint8], step: int) -> None:
        self._called("picture")
        self.pictures.append((name, int(image[0, 0, 0]), step))

    def artifact(self, path: Path, *, model: bool = False) -> None:
        self._called("artifact")
        self.artifacts.append((path.name, model))

    def finish(self, status: str) -> str:
        self._called("finish")
        self.status = status
        return "seen there"


@pytest.fixture
def tracker() -> FakeTracker:
    return FakeTracker()
