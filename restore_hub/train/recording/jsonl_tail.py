"""New lines of a JSON-lines file that something else appends to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CHUNK = 1 << 18  # bytes; many times the longest line


class JsonlTail:
    """Reads on from where it was; returns the same lines again until `done` is called."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = self._end = 0

    def lines(self) -> list[dict[str, Any]]:
        """Return the next whole lines, as many as fit in 256 KiB; empty at the end of the file."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._start)
                data = file.read(CHUNK)
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._end = self._start + len(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def done(self) -> None:
        """Continue after the lines that were returned last."""
        self._start = self._end
