"""`raw/pairs`: short-exposure RAW files and the pictures that long exposures of the same scenes give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from restore_hub.errors import DataError, OptionError
from restore_hub.photo.kind import RAW_SUFFIXES, Kind, kind_of
from restore_hub.photo.raw.mosaic import GAIN_RANGE
from restore_hub_raw.datasets.exposures import Exposures, Pair, check_crop
from restore_hub_raw.datasets.lists import read_pairs


class Pairs(Exposures):
    """Packed short exposures `raw` (4, h/2, w/2) with references `rgb` (3, h, w); see `Exposures` for both.

    Pairs are the files of the same name, but for the suffix, in two folders, or the lines of a list. Any picture
    of the mosaic's size may be the long exposure, such as one made by other software.

    Args:
        root: folder that the folders `short` and `long`, or the paths in the list, start from; absolute ones
            stay as they are.
        crop: side of a random square in picture pixels, even; `None` takes all that the pattern allows.
        short: folder of RAW files, or of arrays with a sidecar.
        long: folder of such files, rendered with the camera's white balance, or of RGB pictures of the same size
            as the mosaics.
        listing: text file with lines `SHORT LONG [RATIO]` in place of `short` and `long`. Names with blanks stand
            in quotes, `#` begins a comment; one long exposure may serve several short ones.
        ratio: long over short exposure time, 1 to 300, where the list has none; `None` reads both times from the files.
        flip: mirror training samples at random, left to right and top to bottom, and transpose square crops.
        cache_mb: decoded files are kept in memory up to this size in MiB.

    Raises:
        DataError: a folder missing or empty, a file without partner, a list with a line that makes no sense; on
            use as `Exposures.sample`.
        OptionError: `crop` not even, `ratio` out of range, folders beside a list.
    """

    def __init__(
        self,
        root: Path,
        crop: int | None = None,
        short: str = "short",
        long: str = "long",
        listing: Path | None = None,
        ratio: float | None = None,
        flip: bool = True,
        cache_mb: int = 512,
    ) -> None:
        check_crop("raw/pairs", crop)
        if ratio is not None and not GAIN_RANGE[0] <= ratio <= GAIN_RANGE[1]:
            raise OptionError(f"option 'ratio' of raw/pairs is {ratio}; give 1 to 300", "ratio")
        root = Path(root)
        if listing is None:
            paired = pair_up(root / short, root / long)
            if paired.problems:
                file, _, seen = paired.problems[0]
                more = f" (and {len(paired.problems) - 1} more)" if len(paired.problems) > 1 else ""
                raise DataError(f"{file}: {seen}{more}")
            pairs = [Pair(*files, ratio) for files in paired.pairs]
        elif (short, long) != ("short", "long"):
            raise OptionError("raw/pairs has `listing`, or `short` and `long`; give one of both", "listing")
        else:
            pairs = read_pairs(Path(listing), root, ratio)
        super().__init__(pairs, crop, flip, cache_mb)


@dataclass(slots=True)
class Paired:
    """The pairs of two folders, and what stands in the way: a file or folder, two words, and what was seen."""

    pairs: list[tuple[Path, Path]]
    problems: list[tuple[Path, str, str]]


def pair_up(short: Path, long: Path) -> Paired:
    """Pair the RAW files of one folder with the RAW files and pictures of the same stem in another, sorted by name.

    Names that begin with a dot are passed over: macOS leaves `._NAME` beside NAME.
    """
    problems: list[tuple[Path, str, str]] = []
    shorts = _by_stem(short, lambda file: kind_of(file).is_raw, problems)
    longs = _by_stem(long, lambda file: kind_of(file) is not Kind.UNKNOWN, problems)
    for one, other, folder in ((shorts, longs, long), (longs, shorts, short)):
        alone = sorted(one.keys() - other.keys()) if other else []
        problems += [(one[stem], "no partner", f"no file of this name in {folder}") for stem in alone]
    return Paired([(shorts[stem], longs[stem]) for stem in sorted(shorts.keys() & longs.keys())], problems)


def _by_stem(folder: Path, serves: Callable[[Path], bool], problems: list[tuple[Path, str, str]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if file.name.startswith(".") or not serves(file):
            continue
        if found.setdefault(file.stem, file) is not file:
            problems.append((file, "same name", f"{found[file.stem].name} has it too; keep one"))
    if not folder.is_dir():
        problems.append((folder, "no folder", "no such folder"))
    elif not found:
        problems.append((folder, "no files", f"holds no file to pair (RAW are {', '.join(sorted(RAW_SUFFIXES))})"))
    return found
