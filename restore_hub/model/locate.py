"""Finds the files that a source names: one exported file, or several that run one after the other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from restore_hub.errors import ModelFileError
from restore_hub.model.zoo import PREFIX, zoo_file

PLUS = "+"


def locate(source: str | Path) -> tuple[Path, ...]:
    """Return the files of a source, in the order in which they run.

    If a file has the whole source as its name, that's the one. Otherwise `+` separates files; a `+` inside a file's
    name is recognised by that file's existence. `zoo:NAME` is a file of the model zoo.

    Raises:
        ModelFileError: nothing before or after a `+`, one of several files is missing, or the zoo lacks the name. A
            single file may be missing; whoever opens it reports that.
    """
    source = str(source)
    parts = list(_parts(source))
    return tuple(_path(part, source if len(parts) > 1 else "") for part in parts)


def _parts(source: str) -> Iterator[str]:
    """Yield the names between the `+`, each the longest that is a file."""
    left = source.split(PLUS)
    while left:
        names = [PLUS.join(left[:count]) for count in range(len(left), 0, -1)]
        name = next(filter(os.path.isfile, names), left[0])
        yield name
        del left[: name.count(PLUS) + 1]


def _path(part: str, source: str) -> Path:
    """Return the file of one name; `source` is the whole that it's part of, or empty."""
    if part.startswith(PREFIX):
        return zoo_file(part.removeprefix(PREFIX))
    if source and not part:
        raise ModelFileError("model.empty-name", source)
    if source and not os.path.isfile(part):
        raise ModelFileError("model.missing-part", part, source=source)
    return Path(part)
