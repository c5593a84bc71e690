"""A journal of a folder's results and what each was made from, so that stopped work can continue.

An entry is written before its result appears, so every result has one. The hash tells when an entry's result is
missing, cut off or changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field

from restore_hub.errors import DataError, counted, reason_of
from restore_hub.files import file_hash, whole_file

FOLDER = ".restore_hub"  # inside the folder of results: journal, lock, and files being written
JOURNAL = "journal.jsonl"
_PART = ".part"


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True)


class _Gain(_Shape):
    value: float


class _Balance(_Shape):
    factors: list[float] = Field(min_length=4, max_length=4)


class _Record(_Shape):
    gain: _Gain = _Gain(value=1)
    balance: _Balance = _Balance(factors=[1, 1, 1, 1])


class _Facts(_Shape):
    photo: str
    height: int
    width: int
    notes: list[str]
    record: _Record


class _Entry(_Shape):
    """The parts of an entry that are used; a person or a disk may have damaged it."""

    out: str
    sha256: str
    made_from: dict[str, Any]
    facts: _Facts


class Journal:
    """The entries of a folder of results, by the name of the result; see `open_journal`. Threads may share it.

    Attributes:
        notes: a line for people if entries are damaged.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._path = out / FOLDER / JOURNAL
        self._guard = threading.Lock()
        written = [text for text in self._path.read_bytes().splitlines() if text] if self._path.exists() else []
        whole = [entry for entry in map(_parsed, written) if entry is not None]
        self._entries = {entry["out"]: entry for entry in whole}  # the later of two with the same name counts
        self.notes = _notes(self._path, len(written) - len(whole))

    def entry(self, name: Path) -> Mapping[str, Any] | None:
        """Return the entry of a result: `out`, `sha256`, `made_from` (its origin) and `facts`; or `None`."""
        return self._entries.get(name.as_posix())

    def holds(self, name: Path, origin: Mapping[str, Any]) -> bool:
        """Say whether a result is there, with this origin and the content that was written."""
        entry, path = self.entry(name), self._out / name
        return entry is not None and entry["made_from"] == origin and path.is_file() and _same(path, entry["sha256"])

    def publish(self, name: Path, data: bytes, sha256: str, origin: Mapping[str, Any], facts: Any) -> None:
        """Write an entry, then its result, whole or not at all.

        Args:
            name: of the result, relative to the folder.
            data: its content; `sha256` is its hash.
            origin: what a later call compares, as plain JSON.
            facts: more for the entry, as plain JSON.

        Raises:
            DataError: it can't be written.
        """
        entry = {"out": name.as_posix(), "sha256": sha256, "made_from": origin, "facts": facts}
        path = self._out / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # The newline comes first, so that an entry after one that was cut off stays whole.
            with self._guard, self._path.open("ab") as file:
                file.write(b"\n" + json.dumps(entry).encode())
                file.flush()
                os.fsync(file.fileno())
            with whole_file(path, self._path.with_name(secrets.token_hex(8) + _PART)) as temporary:
                temporary.write_bytes(data)
        except OSError as error:
            raise DataError("restore.result-not-written", path, cause=reason_of(error)) from error
        self._entries[entry["out"]] = entry


@contextlib.contextmanager
def open_journal(out: Path) -> Iterator[Journal]:
    """Create a folder of results if needed, and open its journal for this process alone.

    Partial files of a killed process are removed.

    Raises:
        DataError: another process has it, or the folder can't be written.
    """
    folder = out / FOLDER
    lock = FileLock(folder / "lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
        for part in folder.glob(f"*{_PART}"):
            part.unlink()
        journal = Journal(out)
    except Timeout:
        raise DataError("restore.busy", out) from None
    except OSError as error:
        lock.release()
        raise DataError("files.cannot-write", out, cause=reason_of(error)) from error
    try:
        yield journal
    finally:
        lock.release()


def _notes(path: Path, damaged: int) -> tuple[str, ...]:
    if damaged == 0:
        return ()
    skipped = f"{path}: skipped {counted(damaged, 'damaged line')}"
    return (f"{skipped}; results without a valid line count as somebody else's files",)


def _parsed(text: bytes) -> dict[str, Any] | None:
    """Return an entry, or `None` for a line that is cut off or damaged."""
    try:
        entry = json.loads(text)
        _Entry.model_validate(entry)
    except (ValueError, RecursionError):
        return None
    return dict(entry)


def _same(path: Path, sha256: str) -> bool:
    """Say whether a file has this hash; one that can't be read doesn't."""
    try:
        return file_hash(path) == sha256
    except OSError:
        return False
