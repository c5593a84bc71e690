"""`raw/pairs`: short-exposure RAW files and the pictures that long exposures of the same scenes give."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from restore_hub.contracts import Port
from restore_hub.errors import DataError, OptionError
from restore_hub.runtime.images import PICTURE_SUFFIXES, read_picture
from restore_hub.runtime.mosaic import GAIN_RANGE, RawImage, pack
from restore_hub.runtime.raw import RAW_SUFFIXES, is_raw, read_raw, render_raw


@dataclass(frozen=True, slots=True)
class _Decoded:
    raw: RawImage
    reference: NDArray[np.uint16]  # (H, W, 3), aligned with the mosaic
    gain: float


class Pairs:
    """Packed short exposures `raw` (4, h/2, w/2) with references `rgb` (3, h, w), as in Chen et al., CVPR 2018.

    Planes are R, Gr, Gb, B, black at 0, white-balanced, multiplied by the exposure ratio (at most 300) and
    clipped at 1; the reference is sRGB in [0, 1]. Red stands at (0, 0) of every sample, whatever the camera's
    pattern, crop and flip.

    Args:
        root: folder that holds both others.
        crop: side of a random square in picture pixels, even; `None` takes all that the pattern allows.
        short: subfolder of RAW files.
        long: subfolder of RAW files, rendered with the camera's white balance, or of RGB pictures of the same
            size as the mosaics; a pair has the same name but for the suffix.
        ratio: long over short exposure time; `None` reads both from the files.
        flip: mirror training samples at random, left to right and top to bottom, and transpose square crops.
        cache_mb: decoded pairs are kept in memory up to this size in MiB.

    Raises:
        DataError: a folder missing or empty, a file without partner; on use, a file that cannot be read, pairs
            that differ in size, a crop larger than the picture, no exposure time.
        OptionError: `crop` not even, `ratio` not positive.
    """

    ports: ClassVar = {"raw": Port(4, "raw", scale=0.5), "rgb": Port(3, "srgb")}

    def __init__(
        self,
        root: Path,
        crop: int | None = None,
        short: str = "short",
        long: str = "long",
        ratio: float | None = None,
        flip: bool = True,
        cache_mb: int = 512,
    ) -> None:
        if crop is not None and (crop < 2 or crop % 2):
            raise OptionError(f"option 'crop' of raw/pairs is {crop}; give an even number of picture pixels", "crop")
        if ratio is not None and not ratio > 0:
            raise OptionError(f"option 'ratio' of raw/pairs is {ratio}; give a positive number", "ratio")
        self._files = _pair_up(Path(root) / short, Path(root) / long)
        self._crop, self._ratio, self._flip = crop, ratio, flip
        self._cache: dict[int, _Decoded] = {}
        self._room = cache_mb * 2**20

    def __len__(self) -> int:
        return len(self._files)

    def files(self, index: int) -> Sequence[Path]:
        """Return the short and the long file of a pair."""
        return self._files[index]

    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, NDArray[np.float32]]:
        """Return `raw` (4, h/2, w/2) and `rgb` (3, h, w); without `rng` the largest area that begins with red."""
        pair = self._decoded(index)
        raw, shape = pair.raw, pair.raw.mosaic.shape
        whole = [(n - start) // 2 * 2 for n, start in zip(shape, raw.phase, strict=True)]
        if rng is None:
            cut = tuple(slice(start, start + n) for start, n in zip(raw.phase, whole, strict=True))
        else:
            size = [self._crop] * 2 if self._crop else whole
            if any(n > most for n, most in zip(size, whole, strict=True)):
                raise DataError(
                    f"{self._named(index)}: a crop of {size[0]} does not fit the {whole[0]} x {whole[1]} pixels "
                    f"that begin with red; give a smaller `crop`"
                )
            cut = tuple(
                _place(n, start, side, self._flip, rng) for n, start, side in zip(shape, raw.phase, size, strict=True)
            )
        mosaic, reference = raw.mosaic[cut], pair.reference[cut]
        levels = np.stack([raw.black, raw.white, raw.balance])
        if rng is not None and self._flip and self._crop and rng.integers(2):
            # Rows and columns change places: red and blue stay on their sites, the two greens swap theirs.
            mosaic, reference, levels = mosaic.T, reference.swapaxes(0, 1), levels[:, [0, 2, 1, 3]]
        height, width = mosaic.shape
        planes = pack(mosaic, (0, 0), *levels, pair.gain)
        rgb = np.ascontiguousarray(reference.transpose(2, 0, 1), np.float32) / np.float32(65535)
        return {"raw": np.ascontiguousarray(planes[:, : height // 2, : width // 2]), "rgb": rgb}

    def _decoded(self, index: int) -> _Decoded:
        """Decode a pair, or take it from memory; nothing is ever dropped, since every epoch reads every pair."""
        if index in self._cache:
            return self._cache[index]
        pair = self._read(index)
        size = pair.raw.mosaic.nbytes + pair.reference.nbytes
        if size <= self._room:
            self._room -= size
            self._cache[index] = pair
        return pair

    def _read(self, index: int) -> _Decoded:
        short, long = self._files[index]
        raw = read_raw(short)
        if is_raw(long):
            reference = render_raw(long)
        else:
            reference = np.rint(read_picture(long).pixels * 65535).astype(np.uint16)
        if reference.shape[:2] != raw.mosaic.shape:
            (h, w), (H, W) = raw.mosaic.shape, reference.shape[:2]
            raise DataError(f"{self._named(index)}: sizes differ, {h} x {w} and {H} x {W}")
        ratio = self._ratio or self._exposure_ratio(index, raw)
        return _Decoded(raw, reference, min(ratio, GAIN_RANGE[1]))

    def _exposure_ratio(self, index: int, raw: RawImage) -> float:
        long = self._files[index][1]
        long_time = read_raw(long).exposure_time if is_raw(long) else None
        if raw.exposure_time is None or long_time is None:
            lacking = self._files[index][0] if raw.exposure_time is None else long
            raise DataError(f"{self._named(index)}: {lacking.name} has no exposure time; give the option `ratio`")
        return long_time / raw.exposure_time

    def _named(self, index: int) -> str:
        short, long = self._files[index]
        return f"{short} and {long}"


def _place(length: int, phase: int, size: int, flip: bool, rng: np.random.Generator) -> slice:
    """Draw where a crop of even `size` lies on one axis, and whether it is mirrored, with red first.

    Mirrored, the last line comes first; it is red's when the crop begins on a line of the other colour.
    """
    firsts = [phase, 1 - phase] if flip else [phase]
    firsts = [first for first in firsts if first + size <= length]
    first = firsts[int(rng.integers(len(firsts)))]
    start = first + 2 * int(rng.integers((length - first - size) // 2 + 1))
    if first == phase:
        return slice(start, start + size)
    return slice(start + size - 1, start - 1 if start else None, -1)


def _pair_up(short: Path, long: Path) -> list[tuple[Path, Path]]:
    """Pair the RAW files of one folder with the files of the same stem in another, sorted by name."""
    shorts, longs = _by_stem(short, RAW_SUFFIXES), _by_stem(long, RAW_SUFFIXES | set(PICTURE_SUFFIXES))
    for one, other, folder in ((shorts, longs, long), (longs, shorts, short)):
        alone = sorted(one.keys() - other.keys())
        if alone:
            more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
            raise DataError(f"{one[alone[0]]}: no file of this name in {folder}{more}")
    return [(shorts[stem], longs[stem]) for stem in sorted(shorts)]


def _by_stem(folder: Path, suffixes: Set[str]) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in suffixes and found.setdefault(file.stem, file) is not file:
            raise DataError(f"{found[file.stem]} and {file} have the same name; keep one")
    if not found:
        raise DataError(f"{folder}: holds no file to pair (known are {', '.join(sorted(suffixes))})")
    return found
