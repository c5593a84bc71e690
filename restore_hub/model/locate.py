"""Which files a person means by a source: one exported file, or several that run one after the other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from restore_hub.errors import ModelFileError

JOINT = "+"
ZOO = "zoo:"


def paths_of(source: str | Path) -> tuple[Path, ...]:
    """Return the files of a source, in the order in which they run.

    A source is one file where a file of that whole name exists, whatever is in the name. Else a `+` stands between
    files; one that belongs to a file's name is known by the file being there. `zoo:NAME` is a file of the model zoo.

    Raises:
        ModelFileError: nothing before or after a `+`, one of several files that is not there, or a name that the zoo
            does not have. A single file may be missing: that is for whoever opens it to say.
    """
    source = str(source)
    parts = list(_parts(source))
    return tuple(_path(part, source if len(parts) > 1 else "") for part in parts)


def _parts(source: str) -> Iterator[str]:
    """Yield the names between the `+`, each the longest that is a file."""
    left = source.split(JOINT)
    while left:
        names = [JOINT.join(left[:count]) for count in range(len(left), 0, -1)]
        name = next(filter(os.path.isfile, names), left[0])
        yield name
        del left[: name.count(JOINT) + 1]


def _path(part: str, source: str) -> Path:
    """Return the file of one name; `source` is what it is a part of, empty for one that is the whole."""
    if part.startswith(ZOO):
        from restore_hub.model.zoo import zoo_file

        return zoo_file(part.removeprefix(ZOO))
    if source and not part:
        raise ModelFileError(f"{source!r} has no file before or after a +, which joins files as in a.onnx+b.onnx")
    if source and not os.path.isfile(part):
        raise ModelFileError(f"no such model file: {part}; in {source!r} a + joins files that run one after the other")
    return Path(part)
