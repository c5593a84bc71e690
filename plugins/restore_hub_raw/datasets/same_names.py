"""Pairs the files of two folders that have the same name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from restore_hub.errors import DataError
from restore_hub.photo.kind import Kind, kind_of


@dataclass(frozen=True, slots=True)
class MatchedNames:
    """The pairs of two folders, and an error for each file or folder that can't be paired."""

    pairs: list[tuple[Path, Path]]
    problems: list[DataError]


def match_names(short: Path, long: Path) -> MatchedNames:
    """Pair the RAW files of one folder with the RAW files and pictures of the same stem in another, sorted by name.

    Names that begin with a dot are ignored: macOS leaves `._NAME` beside NAME.
    """
    problems: list[DataError] = []
    shorts = _by_stem(short, lambda kind: kind.is_raw, problems)
    longs = _by_stem(long, lambda kind: kind is not Kind.UNKNOWN, problems)
    for files, others, other_folder in ((shorts, longs, long), (longs, shorts, short)):
        lonely = sorted(files.keys() - others.keys()) if others else []
        problems += [DataError("raw-data.no-partner", files[stem], folder=other_folder) for stem in lonely]
    return MatchedNames([(shorts[stem], longs[stem]) for stem in sorted(shorts.keys() & longs.keys())], problems)


def _by_stem(folder: Path, usable: Callable[[Kind], bool], problems: list[DataError]) -> dict[str, Path]:
    if not folder.is_dir():
        problems.append(DataError("raw-data.no-folder", folder))
        return {}
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or not usable(kind_of(file)):
            continue
        if found.setdefault(file.stem, file) is not file:
            problems.append(DataError("raw-data.same-name", file, other=found[file.stem].name))
    if not found:
        problems.append(DataError("raw-data.no-files", folder))
    return found
