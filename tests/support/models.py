"""What tests of exported files share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restore_hub.model.manifest import Memory, Tiling
from restore_hub.model.model import Model
from restore_hub.model.verify import verify
from restore_hub.plan import Plan

Write = Callable[..., Path]  # of `write_model`, `write_raw` and the like
Make = Callable[..., Plan]  # of `make`


def join(*paths: Path) -> str:
    """Name several files that run in sequence."""
    return "+".join(map(str, paths))


def check_sound(path: Path) -> None:
    """Check that an exported file passes every check."""
    assert {check.result for check in verify(path)} == {"ok"}, verify(path)


def with_tiling(model: Any, kind: str, memory: Memory | None, margin: int = 2, align: int = 2) -> Any:
    """Return a model whose manifest states these tiles and this memory."""
    tiling = Tiling(kind=kind, margin=margin, align=align, error=0.0 if kind == "exact" else 0.01)  # type: ignore[arg-type]
    return model.with_manifest(model.manifest.model_copy(update={"tiling": tiling, "memory": memory}))


def watch_sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, ...]]]:
    """Return the list that gets the file and the size of whatever runs."""
    seen: list[tuple[str, tuple[int, ...]]] = []
    call = Model.__call__

    def watched(self: Model, feeds: dict[str, np.ndarray], **how: bool) -> np.ndarray:
        seen.append((self.path.name, next(array.shape[2:] for array in feeds.values() if array.ndim == 4)))
        return call(self, feeds, **how)

    monkeypatch.setattr(Model, "__call__", watched)
    return seen
