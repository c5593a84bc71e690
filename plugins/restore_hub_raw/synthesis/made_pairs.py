"""The files of pairs that `make-raw` wrote, and how it keeps from overwriting any other."""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from pathlib import Path

from restore_hub.errors import DataError, reason_of

SIDES = ("short", "long")


def pair_files(out: Path, name: str) -> tuple[Path, Path]:
    """Return the short and the long file of a pair."""
    return out / "short" / f"{name}.dng", out / "long" / f"{name}.dng"


def require_unique_names(photos: Sequence[Path]) -> None:
    """Make sure that no two photos become the same pair.

    Raises:
        DataError: two differ only in their suffix.
    """
    first: dict[str, Path] = {}
    for photo in photos:
        if first.setdefault(photo.stem, photo) is not photo:
            raise DataError("raw-synthesis.same-name", photo, other=first[photo.stem], name=f"{photo.stem}.dng")


def earlier_pairs(out: Path, names: Set[str], force: bool) -> set[str]:
    """Return the names of an earlier run's pairs, after making sure that `names` overwrite nothing else.

    Raises:
        DataError: there are earlier pairs and no `force`, or files that `pairs.json` doesn't list.
    """
    earlier = _listed(out / "pairs.json")
    if earlier is not None and not force:
        raise DataError("raw-synthesis.pairs-exist", out)
    present = [file for side in SIDES if (out / side).is_dir() for file in sorted((out / side).iterdir())]
    if earlier is None and present:
        raise DataError("raw-synthesis.foreign-file", present[0], folder=out)
    unlisted = {file for name in names - (earlier or set()) for file in pair_files(out, name)}.intersection(present)
    if unlisted:
        raise DataError("raw-synthesis.would-overwrite", min(unlisted))
    return earlier or set()


def make_folders(out: Path) -> None:
    """Make the folders of both sides.

    Raises:
        DataError: one can't be made.
    """
    for side in SIDES:
        try:
            (out / side).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError("raw-synthesis.cannot-make-folder", out / side, cause=reason_of(error)) from error


def _listed(listing: Path) -> set[str] | None:
    """Return the names in a `pairs.json`, or `None` where there is none."""
    try:
        names = [pair["name"] for pair in json.loads(listing.read_bytes())["pairs"]]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError("raw-synthesis.unreadable-listing", listing, cause=reason_of(error)) from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise DataError("raw-synthesis.bad-listed-name", listing, name=name)
    return set(names)
