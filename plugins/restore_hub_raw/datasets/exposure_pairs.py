"""Samples made from pairs of a short and a long exposure; subclasses find out which files belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from restore_hub.contracts import Port
from restore_hub.errors import DataError, OptionError
from restore_hub.photo.kind import kind_of
from restore_hub.photo.raw.mosaic import GAIN_RANGE, RawImage, pack
from restore_hub.photo.raw.reader import read_raw
from restore_hub_raw.datasets.decoded_cache import DecodedCache, read_reference, read_short


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
        cut = self._cut(index, raw, rng)
        mosaic, reference = raw.mosaic[cut], reference[cut]
        levels = np.stack([raw.black, raw.white, raw.balance])
        if rng is not None and self._flip and self._crop and rng.integers(2):
            # Rows and columns swap: red and blue stay where they are, the two greens swap too.
            mosaic, reference, levels = mosaic.T, reference.swapaxes(0, 1), levels[:, [0, 2, 1, 3]]
        height, width = mosaic.shape
        black, white, balance = levels
        planes = pack(mosaic, (0, 0), black, white, balance, gain)
        rgb = np.ascontiguousarray(reference.transpose(2, 0, 1), np.float32) / np.float32(65535)
        return {"raw": np.ascontiguousarray(planes[:, : height // 2, : width // 2]), "rgb": rgb}

    def _cut(self, index: int, raw: RawImage, rng: np.random.Generator | None) -> tuple[slice, ...]:
        """Return the rows and columns of a sample, which begin with red."""
        shape = raw.mosaic.shape
        whole = [(n - start) // 2 * 2 for n, start in zip(shape, raw.phase, strict=True)]
        if rng is None:
            return tuple(slice(start, start + n) for start, n in zip(raw.phase, whole, strict=True))
        size = [self._crop] * 2 if self._crop else whole
        if any(n > most for n, most in zip(size, whole, strict=True)):
            height, width = whole
            raise DataError("raw-data.crop-too-large", self.files(index)[0], crop=size[0], height=height, width=width)
        axes = zip(shape, raw.phase, size, strict=True)
        return tuple(_place(n, start, side, self._flip, rng) for n, start, side in axes)

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


def check_crop(dataset: str, crop: int | None) -> None:
    """Refuse a crop that can't be packed.

    Raises:
        OptionError: not even, or not positive.
    """
    if crop is not None and (crop < 2 or crop % 2):
        raise OptionError("raw-data.bad-crop", "crop", got=crop, dataset=dataset)


def _place(length: int, phase: int, size: int, flip: bool, rng: np.random.Generator) -> slice:
    """Draw where a crop of even `size` lies on one axis, and whether it is mirrored, with red first.

    A mirrored crop begins with its last line, which has red when its first line has the other colour.
    """
    firsts = [phase, 1 - phase] if flip else [phase]
    firsts = [first for first in firsts if first + size <= length]
    first = firsts[int(rng.integers(len(firsts)))]
    start = first + 2 * int(rng.integers((length - first - size) // 2 + 1))
    if first == phase:
        return slice(start, start + size)
    return slice(start + size - 1, start - 1 if start else None, -1)
