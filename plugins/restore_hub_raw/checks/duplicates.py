"""Files that occur twice in training data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from restore_hub_raw.checks.findings import Finding
from restore_hub_raw.checks.splits import Split


def find_duplicates(splits: Iterable[Split]) -> Iterator[tuple[str, Finding]]:
    """Yield each file whose content occurred before, in its split or in another, whatever its name."""
    first: dict[bytes, tuple[str, Path]] = {}
    for split in splits:
        for file in dict.fromkeys(file for files in split.samples for file in files):
            try:
                digest = _digest(file)
            except OSError:
                continue  # another check reports unreadable files
            name, other = first.setdefault(digest, (split.name, file))
            if name != split.name:
                yield split.name, Finding(file, "in two splits", f"the same content is in {name}: {other}")
            elif other != file:
                yield split.name, Finding(file, "duplicate", f"the same content as {other}")


def _digest(file: Path) -> bytes:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, hashlib.blake2b).digest()
