"""What became of a folder's photographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one photograph.

    Attributes:
        photo: its name, relative to the folder.
        out: name of the result, relative to the folder of results.
        state: `done`; `skipped`, because the same result was there, unchanged; or `failed`.
        reason: why it failed.
        code: the error's code, for programs; empty for an unforeseen error.
        facts: of a result, `height`, `width`, `notes` and `record` as in `Restored`, and `photo`, its full path.
    """

    photo: Path
    out: Path
    state: Literal["done", "skipped", "failed"]
    reason: str = ""
    code: str = ""
    facts: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class RestoredFolder:
    """What became of a folder.

    Attributes:
        path: the folder of results.
        results: one for each photograph, in order.
        seconds: how long it took.
        notes: lines for people about the folder of results.
    """

    path: Path
    results: tuple[Result, ...]
    seconds: float
    notes: tuple[str, ...] = ()

    def of(self, *states: str) -> list[Result]:
        """Return the results in any of some states."""
        return [result for result in self.results if result.state in states]

    @property
    def speed(self) -> float:
        """Megapixels restored per second of the whole call."""
        sizes: list[int] = [r.facts["height"] * r.facts["width"] for r in self.of("done") if r.facts]
        return sum(sizes) / 1e6 / max(self.seconds, 1e-9)
