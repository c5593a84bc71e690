"""New lines of a JSON-lines file that somebody else appends to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CHUNK = 1 << 18  # bytes; many times the longest line


class Tail:
    """Reads on from where it was; the same lines come again until `done` is called."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = self._end = 0

    def lines(self) -> list[dict[str, Any]]:
        """Return the next lines that are whole, as many as fit in 256 KiB; empty at the end of the file."""
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
        """Go on after the lines that came last."""
        self._start = self._end
