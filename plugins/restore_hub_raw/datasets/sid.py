"""`raw/sid`: the See-in-the-Dark data set, with its official lists."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from restore_hub.errors import DataError
from restore_hub.photo.raw.mosaic import GAIN_RANGE
from restore_hub_raw.datasets.exposure_pairs import ExposurePair, ExposurePairs
from restore_hub_raw.datasets.mosaic_cut import check_crop
from restore_hub_raw.datasets.pair_lists import read_fields

_NAME = re.compile(r"(\d{5})_\d{2}_(\d+(?:\.\d+)?)s\.\w+")  # scene, number, seconds
_FIRST_DIGIT = {"train": "0", "test": "1", "val": "2"}  # of the scenes of a split
# The data set's authors say that short and long exposures of these test scenes aren't aligned.
_MISALIGNED = ("10034", "10045", "10172")


class Sid(ExposurePairs):
    """The Sony part of the See-in-the-Dark set (Chen et al., Learning to See in the Dark, CVPR 2018).

    Samples are like those of `raw/pairs`: planes `min((m - 512) / (16383 - 512) * balance * ratio, 1)` with the levels
    and the camera's white balance of each file, and the long exposure rendered by LibRaw with the camera's white
    balance, as the authors do. The ratio is long over short exposure time, both from the file names, at most 300.

    Pairs come from `Sony_train_list.txt`, `Sony_val_list.txt` and `Sony_test_list.txt` in `root`, whose lines
    begin with two paths relative to `root`: `./Sony/short/00001_00_0.04s.ARW ./Sony/long/00001_00_10s.ARW ISO200 F8`.
    One long exposure serves several short ones. This official split has 1865 short exposures for training, 234
    for validation and 598 for testing, 2697 in all; papers that claim to train on 2697 count all of them. Test
    images of the scenes 10034, 10045 and 10172 are left out, since their exposures aren't aligned.

    The Fuji part can't be used: its mosaic is X-Trans, which the reader refuses by name.

    Args:
        root: folder of the lists and of the folder `Sony`.
        split: which list.
        crop: side of a random square in picture pixels, even (the paper takes 1024, or 512 packed); `None`
            takes all.
        flip: mirror training samples at random, left to right and top to bottom, and transpose square crops.
        cache_mb: decoded files are kept in memory up to this size in MiB; a short exposure takes 23, a long one 69.

    Attributes:
        notes: how many test images are left out.

    Raises:
        DataError: a missing list or a bad line in it, a scene of another split, missing files; on use as
            `ExposurePairs.sample`.
        OptionError: `crop` not even.
    """

    def __init__(
        self,
        root: Path,
        split: Literal["train", "val", "test"],
        crop: int | None = None,
        flip: bool = True,
        cache_mb: int = 512,
    ) -> None:
        check_crop("raw/sid", crop)
        listing = Path(root) / f"Sony_{split}_list.txt"
        listed = [_pair(place, fields, Path(root), split) for place, fields in read_fields(listing)]
        pairs = [pair for pair in listed if not pair.short.name.startswith(_MISALIGNED)]
        _require_files(listing, pairs)
        self.notes: Sequence[str] = ()
        if len(pairs) < len(listed):
            self.notes = (
                f"{len(listed) - len(pairs)} of {len(listed)} images of {listing} left out, as exposures of the "
                f"scenes {', '.join(_MISALIGNED)} aren't aligned",
            )
        super().__init__(pairs, crop, flip, cache_mb)


def _pair(place: str, fields: Sequence[str], root: Path, split: str) -> ExposurePair:
    if len(fields) < 2:
        raise DataError("raw-sid.too-few-fields", place)
    short, long = root / fields[0], root / fields[1]
    scenes, seconds = [], []
    for file in (short, long):
        found = _NAME.fullmatch(file.name)
        if not found or not float(found[2]):
            raise DataError("raw-sid.unknown-time", place, name=file.name)
        scenes.append(found[1])
        seconds.append(float(found[2]))
        if found[1][0] != _FIRST_DIGIT[split]:
            raise DataError("raw-sid.other-split", place, name=file.name, split=split, digit=_FIRST_DIGIT[split])
    if scenes[0] != scenes[1]:
        raise DataError("raw-sid.two-scenes", place, short=short.name, long=long.name)
    return ExposurePair(short, long, min(seconds[1] / seconds[0], GAIN_RANGE[1]))


def _require_files(listing: Path, pairs: Sequence[ExposurePair]) -> None:
    files = dict.fromkeys(file for pair in pairs for file in (pair.short, pair.long))
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise DataError("raw-sid.missing-files", missing[0], missing=len(missing), files=len(files), listing=listing)
