"""`raw/folder`: RAW files without references, for losses that need none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from restore_hub.contracts import Port
from restore_hub.errors import DataError, OptionError
from restore_hub.photo.kind import kind_of
from restore_hub.photo.raw.mosaic import GAIN_RANGE, exposure_gain
from restore_hub_raw.datasets.decoded_cache import DecodedCache, read_short
from restore_hub_raw.datasets.mosaic_cut import check_crop, draw, whole


class Folder:
    """Packed RAW files `raw` (4, h/2, w/2), as `raw/pairs` gives them, without a reference.

    Planes are R, Gr, Gb, B, black at 0, white-balanced, multiplied by the gain (at most 300) and clipped at 1, with red
    at (0, 0). Hot pixels are repaired.

    Args:
        root: folder of RAW files, or of arrays with a sidecar; those in folders below it are left alone.
        crop: side of a random square in picture pixels, even; `None` takes all that the pattern allows.
        gain: 1 to 300; `None` takes that of each file as `restore` does: what it asks for, else by the same rule.
        flip: mirror training samples at random, left to right and top to bottom, and transpose square crops.
        cache_mb: decoded files are kept in memory up to this size in MiB.

    Raises:
        DataError: the folder is missing or holds no RAW file; on use as `sample`.
        OptionError: `crop` not even, `gain` out of range.
    """

    ports: ClassVar = {"raw": Port(4, "raw", scale=0.5)}

    def __init__(
        self, root: Path, crop: int | None = None, gain: float | None = None, flip: bool = True, cache_mb: int = 512
    ) -> None:
        check_crop("raw/folder", crop)
        low, high = GAIN_RANGE
        if gain is not None and not low <= gain <= high:
            raise OptionError("raw-data.bad-gain", "gain", got=gain, low=low, high=high)
        root = Path(root)
        if not root.is_dir():
            raise DataError("raw-data.no-folder", root)
        self._files = [f for f in sorted(root.iterdir()) if not f.name.startswith(".") and kind_of(f).is_raw]
        if not self._files:
            raise DataError("raw-data.no-files", root)
        self._crop, self._gain, self._flip = crop, gain, flip
        self._cache = DecodedCache(cache_mb)

    def __len__(self) -> int:
        return len(self._files)

    def files(self, index: int) -> Sequence[Path]:
        """Return the file."""
        return (self._files[index],)

    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, NDArray[np.float32]]:
        """Return `raw` (4, h/2, w/2); without `rng` the largest area that begins with red.

        Raises:
            DataError: a crop larger than the picture. UnreadableFileError: a damaged or truncated file.
        """
        file = self._files[index]
        raw = self._cache.get(read_short, file)
        cut = whole(raw) if rng is None else draw(raw, file, self._crop, self._flip, rng)
        gain = exposure_gain(raw)[0] if self._gain is None else self._gain
        return {"raw": cut.planes(raw, min(gain, GAIN_RANGE[1]))}
