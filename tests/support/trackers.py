"""A tracker in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from restore_hub.contracts import Scalar


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
