"""Files that appear whole or not at all, and their hashes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from restore_hub.errors import DataError, reason_of


@contextlib.contextmanager
def whole_file(path: Path, aside: Path | None = None, *, sync: bool = False) -> Iterator[Path]:
    """Give a place to write to, which becomes `path` when the block ends well and is gone when it doesn't.

    Args:
        path: where the file goes; an older one stays until then.
        aside: a free name on the same disk; without it, a hidden one beside `path`.
        sync: wait until the disk has it, so that a power cut leaves either file whole.

    Raises:
        OSError: the file cannot be written; whoever calls says so in the words of their own error.
    """
    temporary = aside or path.with_name(f".{secrets.token_hex(8)}.part")  # short, for names of any length
    try:
        yield temporary
        if sync:
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # a disk that became read-only refuses that too
            temporary.unlink(missing_ok=True)
        raise


def write_file(path: Path, data: bytes, aside: Path | None = None) -> None:
    """Write a file that appears whole or not at all, as `whole_file` does.

    Raises:
        DataError: the folder is missing or cannot be written.
    """
    try:
        with whole_file(path, aside) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise DataError("files.cannot-write", path, cause=reason_of(error)) from error


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
