"""How this package writes a file: whole or not at all, with an error of its own where that fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from restore_hub.errors import ExportError, reason_of
from restore_hub.files import whole_file


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """Give a place to write to, which becomes `path` when the block ends well and is gone when it doesn't.

    Raises:
        ExportError: the file can't be written.
    """
    try:
        # One name, so that what a killed call leaves is replaced by the next.
        with whole_file(path, path.with_name(f"{path.name}.part")) as temporary:
            yield temporary
    except OSError as error:
        raise ExportError("export.cannot-write", path, cause=reason_of(error)) from error
