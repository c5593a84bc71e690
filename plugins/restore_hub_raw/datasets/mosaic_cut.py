"""Which part of a mosaic is a sample: whole for measuring, a random square for training, always with red at (0, 0)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import DataError, OptionError
from restore_hub.photo.raw.mosaic import RawImage, pack


@dataclass(frozen=True, slots=True)
class MosaicCut:
    """Rows and columns of a mosaic, mirrored where they run backwards; `swapped` swaps the two afterwards."""

    rows: slice
    columns: slice
    swapped: bool = False

    def planes(self, raw: RawImage, gain: float) -> NDArray[np.float32]:
        """Return the packed planes R, Gr, Gb, B (4, h/2, w/2), black at 0, white-balanced, times `gain`, at most 1."""
        mosaic = raw.mosaic[self.rows, self.columns]
        levels = np.stack([raw.black, raw.white, raw.balance])
        if self.swapped:  # red and blue stay where they are, the two greens swap too
            mosaic, levels = mosaic.T, levels[:, [0, 2, 1, 3]]
        height, width = mosaic.shape
        black, white, balance = levels
        planes = pack(mosaic, (0, 0), black, white, balance, gain)
        return np.ascontiguousarray(planes[:, : height // 2, : width // 2])

    def picture(self, rgb: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Return the same part of a picture (H, W, 3), 65535 for 1, as (3, h, w) in [0, 1]."""
        part = rgb[self.rows, self.columns]
        part = part.swapaxes(0, 1) if self.swapped else part
        return np.ascontiguousarray(part.transpose(2, 0, 1), np.float32) / np.float32(65535)


def whole(raw: RawImage) -> MosaicCut:
    """Return the largest part of a mosaic that begins with red and holds whole 2x2 tiles."""
    rows, columns = (slice(start, start + length) for start, length in zip(raw.phase, _lengths(raw), strict=True))
    return MosaicCut(rows, columns)


def draw(raw: RawImage, file: Path, crop: int | None, flip: bool, rng: np.random.Generator) -> MosaicCut:
    """Draw a part of a mosaic.

    Args:
        raw: the mosaic.
        file: its file, for the error.
        crop: side of the square in picture pixels, even; `None` takes all that the pattern allows.
        flip: mirror it at random, left to right and top to bottom, and swap rows and columns of squares.
        rng: what to draw from.

    Raises:
        DataError: the square is larger than the mosaic.
    """
    most = _lengths(raw)
    size = [crop] * 2 if crop else most
    if any(n > limit for n, limit in zip(size, most, strict=True)):
        height, width = most
        raise DataError("raw-data.crop-too-large", file, crop=size[0], height=height, width=width)
    axes = zip(raw.mosaic.shape, raw.phase, size, strict=True)
    rows, columns = (_place(n, start, side, flip, rng) for n, start, side in axes)
    return MosaicCut(rows, columns, swapped=bool(flip and crop and rng.integers(2)))


def check_crop(dataset: str, crop: int | None) -> None:
    """Refuse a crop that can't be packed.

    Raises:
        OptionError: not even, or not positive.
    """
    if crop is not None and (crop < 2 or crop % 2):
        raise OptionError("raw-data.bad-crop", "crop", got=crop, dataset=dataset)


def _lengths(raw: RawImage) -> list[int]:
    return [(n - start) // 2 * 2 for n, start in zip(raw.mosaic.shape, raw.phase, strict=True)]


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
