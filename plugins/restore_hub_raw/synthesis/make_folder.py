"""What `make-raw` does: turns a folder of photos into pairs of a short and a long RAW exposure."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import DataError
from restore_hub.files import write_file
from restore_hub.photo.raw.dng_writer import write_dng
from restore_hub.photo.raw.mosaic import PHASES, RawImage
from restore_hub_raw.synthesis.made_pairs import earlier_pairs, make_folders, pair_files, require_unique_names
from restore_hub_raw.synthesis.make_pair import BLACK, WHITE, make_pair
from restore_hub_raw.synthesis.photos import list_photos, read_photo
from restore_hub_raw.synthesis.recipe import Recipe
from restore_hub_raw.synthesis.unprocess import CANON_6D

_LONG_EXPOSURE = 10.0  # seconds


def _ignore(error: DataError) -> None:
    del error


def make_folder(
    photos: Path,
    out: Path,
    recipe: Recipe,
    force: bool = False,
    on_failure: Callable[[DataError], None] = _ignore,
) -> int:
    """Write `short/NAME.dng`, `long/NAME.dng` for each photo of a folder, and `pairs.json`; return how many.

    With `force` the pairs that an earlier `pairs.json` lists are replaced; those without a new one are removed
    once everything is written. Other files are never touched.

    Args:
        photos: folder of PNG, TIFF and JPEG files.
        out: folder of the pairs.
        recipe: how they are made.
        force: replace earlier pairs.
        on_failure: called with the error of each photo that can't be used.

    Raises:
        DataError: no photo, two of one name, earlier pairs and no `force`, files that no `pairs.json` lists,
            or, after all others are written, photos that can't be used.
    """
    files = list_photos(photos)
    require_unique_names(files)
    earlier = earlier_pairs(out, {file.stem for file in files}, force)
    make_folders(out)
    pairs, failures = [], []
    for file in files:
        try:
            photo = read_photo(file, recipe.size)
        except DataError as error:
            failures.append(error)
            on_failure(error)
        else:
            pairs.append(_write_pair(file, photo, out, recipe))
    if pairs:
        write_file(out / "pairs.json", json.dumps({**asdict(recipe), "pairs": pairs}, indent=1).encode() + b"\n")
        for name in earlier - {pair["name"] for pair in pairs}:
            for file in pair_files(out, name):
                file.unlink(missing_ok=True)
    if failures:
        raise DataError(
            "raw-synthesis.photos-left-out",
            photos,
            written=len(pairs),
            failed=len(failures),
            photos=len(files),
            first=failures[0],
        )
    return len(pairs)


def _write_pair(file: Path, photo: NDArray[np.float32], out: Path, recipe: Recipe) -> dict[str, Any]:
    """Write both exposures; return the pair's entry in `pairs.json`."""
    rng = np.random.default_rng((recipe.seed, zlib.crc32(file.stem.encode())))
    short, long, balance = make_pair(photo, recipe, rng)
    short_file, long_file = pair_files(out, file.stem)
    long_raw = RawImage(
        mosaic=long,
        phase=PHASES[recipe.phase],
        black=np.full(4, BLACK, np.float32),
        white=np.full(4, WHITE, np.float32),
        balance=np.asarray(balance, np.float32),
        balance_source="camera",
        exposure_time=_LONG_EXPOSURE,
        camera="restore_hub make-raw",
        camera_from_xyz=CANON_6D,
    )
    time = float(Fraction(_LONG_EXPOSURE) / Fraction(recipe.ratio))
    noise = np.tile([recipe.shot, recipe.read], (4, 1)) if recipe.shot or recipe.read else None
    write_dng(short_file, replace(long_raw, mosaic=short, exposure_time=time, gain=recipe.ratio, noise=noise))
    write_dng(long_file, long_raw)
    return {
        "name": file.stem,
        "photo": file.name,
        "height": len(photo),
        "width": photo.shape[1],
        "balance": balance.tolist(),
    }
