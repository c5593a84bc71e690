"""Samples made from pairs of a short and a long exposure; subclasses find out which files belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from restore_hub.contracts import Port
from restore_hub.errors import DataError
from restore_hub.photo.kind import kind_of
from restore_hub.photo.raw.mosaic import GAIN_RANGE, RawImage
from restore_hub.photo.raw.reader import read_raw
from restore_hub_raw.datasets.decoded_cache import DecodedCache, read_reference, read_short
from restore_hub_raw.datasets.mosaic_cut import draw, whole


@dataclass(frozen=True, slots=True)
class ExposurePair:
    """A short RAW exposure and its long one; `ratio` is long over short time, `None` where the files state it."""

    short: Path
    long: Path
    ratio: float | None = None


class ExposurePairs:
    """Packed short exposures `raw` (4, h/2, w/2) with references `rgb` (3, h, w), as in Chen et al., CVPR 2018.

    Planes are R, Gr, Gb, B, black at 0, white-balanced, multiplied by the exposure ratio (at most 300) and
    clipped at 1; the reference is sRGB in [0, 1]. Every sample has red at (0, 0), whatever the camera's
    pattern, the crop and the flip. Hot pixels of the short exposure are repaired, as in `restore`. A long exposure that
    serves several short ones is decoded once.

    Args:
        pairs: the files.
        crop: side of a random square in picture pixels, even; `None` takes all that the pattern allows.
        flip: mirror training samples at random, left to right and top to bottom, and transpose square crops.
        cache_mb: decoded files are kept in memory up to this size in MiB.
    """

    ports: ClassVar = {"raw": Port(4, "raw", scale=0.5), "rgb": Port(3, "srgb")}

    def __init__(self, pairs: Sequence[ExposurePair], crop: int | None, flip: bool, cache_mb: int) -> None:
        self._pairs, self._crop, self._flip = pairs, crop, flip
        self._ratios: dict[int, float] = {}
        self._cache = DecodedCache(cache_mb)

    def __len__(self) -> int:
        return len(self._pairs)

    def files(self, index: int) -> Sequence[Path]:
        """Return the short and the long file of a pair."""
        return self._pairs[index].short, self._pairs[index].long

    def pair(self, index: int) -> ExposurePair:
        """Return a pair, with the ratio that an option, a list or the file names state."""
        return self._pairs[index]

    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, NDArray[np.float32]]:
        """Return `raw` (4, h/2, w/2) and `rgb` (3, h, w); without `rng` the largest area that begins with red.

        Raises:
            DataError: a missing file, a pair that differs in size, a crop larger than the picture, no exposure
                time. UnreadableFileError: a damaged or truncated file.
        """
        raw, reference = self._read(index)
        gain = min(self._ratio(index, raw), GAIN_RANGE[1])
        cut = whole(raw) if rng is None else draw(raw, self.files(index)[0], self._crop, self._flip, rng)
        return {"raw": cut.planes(raw, gain), "rgb": cut.picture(reference)}

    def _read(self, index: int) -> tuple[RawImage, NDArray[np.uint16]]:
        short, long = self.files(index)
        raw = self._cache.get(read_short, short)
        reference = self._cache.get(read_reference, long)
        if reference.shape[:2] != raw.mosaic.shape:
            sizes = [f"{h} x {w}" for h, w in (raw.mosaic.shape, reference.shape[:2])]
            raise DataError("raw-data.sizes-differ", short, size=sizes[0], other=long, other_size=sizes[1])
        return raw, reference

    def _ratio(self, index: int, raw: RawImage) -> float:
        """Return the exposure ratio that is given, or that both files state."""
        known = self._pairs[index].ratio or self._ratios.get(index)
        if known is not None:
            return known
        short, long = self.files(index)
        long_time = read_raw(long).exposure_time if kind_of(long).is_raw else None
        if raw.exposure_time is None or long_time is None:
            raise DataError("raw-data.no-exposure-time", short if raw.exposure_time is None else long)
        self._ratios[index] = long_time / raw.exposure_time
        return self._ratios[index]
