"""Exported files by name."""

from __future__ import annotations

from pathlib import Path

from restore_hub.errors import ModelFileError


def zoo_file(name: str) -> Path:
    """Return the file of a name.

    Raises:
        ModelFileError: no such name.
    """
    raise ModelFileError(f"the model zoo has no {name!r}; give a file")
