"""`raw/pairs`: short-exposure RAW files and the pictures that long exposures of the same scenes give."""

from __future__ import annotations

from pathlib import Path

from restore_hub.errors import OptionError
from restore_hub.photo.raw.mosaic import GAIN_RANGE
from restore_hub_raw.datasets.exposure_pairs import ExposurePair, ExposurePairs
from restore_hub_raw.datasets.mosaic_cut import check_crop
from restore_hub_raw.datasets.pair_lists import read_pair_list
from restore_hub_raw.datasets.same_names import match_names


class Pairs(ExposurePairs):
    """Packed short exposures `raw` (4, h/2, w/2) with references `rgb` (3, h, w); see `ExposurePairs` for both.

    Pairs are the files of the same name, whatever the suffix, in two folders, or the lines of a list. Any picture
    of the mosaic's size can be the long exposure, such as one made by other software.

    Args:
        root: folder that `short` and `long`, or the paths in the list, are relative to.
        crop: side of a random square in picture pixels, even; `None` takes all that the pattern allows.
        short: folder of RAW files, or of arrays with a sidecar.
        long: folder of such files, rendered with the camera's white balance, or of RGB pictures of the same size
            as the mosaics.
        listing: text file with lines `SHORT LONG [RATIO]` instead of `short` and `long`. Put names that contain
            blanks in quotes; `#` begins a comment; one long exposure can serve several short ones.
        ratio: long over short exposure time, 1 to 300, where the list has none; `None` reads both times from the files.
        flip: mirror training samples at random, left to right and top to bottom, and transpose square crops.
        cache_mb: decoded files are kept in memory up to this size in MiB.

    Raises:
        DataError: a folder missing or empty, a file without a partner, a bad line in a list; on use as
            `ExposurePairs.sample`.
        OptionError: `crop` not even, `ratio` out of range, folders given beside a list.
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
        low, high = GAIN_RANGE
        if ratio is not None and not low <= ratio <= high:
            raise OptionError("raw-data.bad-ratio", "ratio", got=ratio, low=low, high=high)
        root = Path(root)
        if listing is None:
            matched = match_names(root / short, root / long)
            if matched.problems:
                raise matched.problems[0]
            pairs = [ExposurePair(*files, ratio) for files in matched.pairs]
        elif (short, long) != ("short", "long"):
            raise OptionError("raw-data.listing-and-folders", "listing")
        else:
            pairs = read_pair_list(Path(listing), root, ratio)
        super().__init__(pairs, crop, flip, cache_mb)
