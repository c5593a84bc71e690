"""Text files that list which exposures belong together."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from pathlib import Path

from restore_hub.errors import DataError, reason_of
from restore_hub.photo.raw.mosaic import GAIN_RANGE
from restore_hub_raw.datasets.exposure_pairs import ExposurePair


def read_fields(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the place `file:line` and the fields of each line that has any.

    Blanks separate fields, those that contain blanks are in quotes; `#` begins a comment.

    Raises:
        DataError: a missing file, not UTF-8 text, an open quote; no line with a field.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("raw-data.unreadable-list", path, cause=reason_of(error)) from error
    empty = True
    for number, line in enumerate(lines, 1):
        place = f"{path}:{number}"
        try:
            fields = shlex.split(line, comments=True)
        except ValueError as error:
            raise DataError("raw-data.open-quote", place, cause=error) from error
        if fields:
            empty = False
            yield place, fields
    if empty:
        raise DataError("raw-data.empty-list", path)


def read_pair_list(listing: Path, root: Path, ratio: float | None) -> list[ExposurePair]:
    """Read lines `SHORT LONG [RATIO]`, paths relative to `root`; a line without a ratio has `ratio`.

    Raises:
        DataError: as `read_fields`, another number of fields, a missing file, a ratio that isn't a number from 1 to
            300; with the list's name and line.
    """
    pairs = []
    for place, fields in read_fields(listing):
        if len(fields) not in (2, 3):
            raise DataError("raw-data.wrong-fields", place, count=len(fields))
        short, long = (root / name for name in fields[:2])
        for file in (short, long):
            if not file.is_file():
                raise DataError("raw-data.no-listed-file", place, file=file)
        pairs.append(ExposurePair(short, long, _ratio(place, fields[2]) if len(fields) == 3 else ratio))
    return pairs


def _ratio(place: str, text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = math.nan
    low, high = GAIN_RANGE
    if not low <= ratio <= high:
        raise DataError("raw-data.bad-listed-ratio", place, got=text, low=low, high=high)
    return ratio
