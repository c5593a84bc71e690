"""Text files that list which exposures belong together."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from pathlib import Path

from restore_hub.errors import DataError
from restore_hub.photo.raw.mosaic import GAIN_RANGE
from restore_hub_raw.datasets.exposures import Pair


def fields_of(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the place `file:line` and the fields of each line that has any.

    Fields are parted by blanks, those with blanks in them stand in quotes; `#` begins a comment.

    Raises:
        DataError: no such file, no text in UTF-8, a quote without end; no line with a field.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text in UTF-8"
        raise DataError(f"{path}: cannot be read as a list of files: {reason}") from error
    empty = True
    for number, line in enumerate(lines, 1):
        try:
            fields = shlex.split(line, comments=True)
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}; quote names with blanks at both ends") from error
        if fields:
            empty = False
            yield f"{path}:{number}", fields
    if empty:
        raise DataError(f"{path}: lists no files")


def read_pairs(listing: Path, root: Path, ratio: float | None) -> list[Pair]:
    """Read lines `SHORT LONG [RATIO]`, paths relative to `root`; a line without a ratio has `ratio`.

    Raises:
        DataError: as `fields_of`, another number of fields, a file missing, a ratio that is no number from 1 to 300;
            with the list's name and line.
    """
    pairs = []
    for place, fields in fields_of(listing):
        if len(fields) not in (2, 3):
            raise DataError(f"{place}: {len(fields)} fields; a line is SHORT LONG [RATIO], names with blanks quoted")
        short, long = (root / name for name in fields[:2])
        for file in (short, long):
            if not file.is_file():
                raise DataError(f"{place}: {file}: no such file; paths are relative to `root`")
        pairs.append(Pair(short, long, _ratio(place, fields[2]) if len(fields) == 3 else ratio))
    return pairs


def _ratio(place: str, text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = math.nan
    low, high = GAIN_RANGE
    if not low <= ratio <= high:
        raise DataError(f"{place}: the ratio {text!r} is no number from {low:g} to {high:g}")
    return ratio
