"""What a folder of results holds and what each was made from, so that work that was stopped goes on.

A line goes into the journal before its result appears, so that no result is ever without one, and a line whose result
is missing, cut off or changed is known by the hash.
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

from restore_hub.errors import DataError
from restore_hub.files import file_hash, write_file

FOLDER = ".restore_hub"  # inside the folder of results: journal, lock, and files that are being written
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


class _Line(_Shape):
    """What is relied upon of a line, which a person or a disk may have damaged."""

    out: str
    sha256: str
    made_from: dict[str, Any]
    facts: _Facts


class Journal:
    """The lines of a folder of results, by the name of the result; see `open_journal`. Threads may share it.

    Attributes:
        notes: a line for people where others are damaged.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._path = out / FOLDER / JOURNAL
        self._guard = threading.Lock()
        written = [text for text in self._path.read_bytes().splitlines() if text] if self._path.exists() else []
        whole = [line for line in map(_parsed, written) if line is not None]
        self._lines = {line["out"]: line for line in whole}  # of two with one name, the later counts
        self.notes = _notes(self._path, len(written) - len(whole))

    def line(self, name: Path) -> Mapping[str, Any] | None:
        """Return what was noted of a result: `out`, `sha256`, `made_from`, and the maker's facts; or `None`."""
        return self._lines.get(name.as_posix())

    def holds(self, name: Path, made_from: Mapping[str, Any]) -> bool:
        """Say whether a result is there, from just that, and with the content that was written."""
        line, path = self.line(name), self._out / name
        return line is not None and line["made_from"] == made_from and path.is_file() and _same(path, line["sha256"])

    def publish(self, name: Path, data: bytes, sha256: str, made_from: Mapping[str, Any], facts: Any) -> None:
        """Note a result, then write it; whole or not at all.

        Args:
            name: of the result, relative to the folder.
            data: its content; `sha256` is the hash of it.
            made_from: what a later call compares, as plain JSON.
            facts: what else to note, as plain JSON.

        Raises:
            DataError: it cannot be written.
        """
        line = {"out": name.as_posix(), "sha256": sha256, "made_from": made_from, "facts": facts}
        path = self._out / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # The newline comes first: where a line was cut off, the next one stays whole.
            with self._guard, self._path.open("ab") as file:
                file.write(b"\n" + json.dumps(line).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error
        write_file(path, data, self._path.with_name(secrets.token_hex(8) + _PART))
        self._lines[line["out"]] = line


@contextlib.contextmanager
def open_journal(out: Path) -> Iterator[Journal]:
    """Make a folder of results, if it is not there, and give its journal, to this process alone.

    What a killed process was writing is removed.

    Raises:
        DataError: another process has it, or the folder cannot be written.
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
        raise DataError(f"another process is restoring into {out}; wait for it, or choose another folder") from None
    except OSError as error:
        lock.release()
        raise DataError(f"{out} cannot be written: {error.strerror or error}") from error
    try:
        yield journal
    finally:
        lock.release()


def _notes(path: Path, damaged: int) -> tuple[str, ...]:
    if damaged == 0:
        return ()
    said = f"{path}: passed over {damaged} damaged line{'s' * (damaged > 1)}"
    return (f"{said}; results that no other line tells of count as files that no call made",)


def _parsed(text: bytes) -> dict[str, Any] | None:
    """Return a line of a journal, or `None` for one that is cut off or damaged."""
    try:
        line = json.loads(text)
        _Line.model_validate(line)
    except (ValueError, RecursionError):
        return None
    return dict(line)


def _same(path: Path, sha256: str) -> bool:
    """Say whether a file has a hash; one that cannot be read has not."""
    try:
        return file_hash(path) == sha256
    except OSError:
        return False
