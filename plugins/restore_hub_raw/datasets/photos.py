"""`raw/photos`: ordinary photographs turned into dark RAW exposures while training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from restore_hub.contracts import Port
from restore_hub.errors import DataError, OptionError
from restore_hub.photo.raw.mosaic import PHASES, pack
from restore_hub_raw.datasets.augment import Augment
from restore_hub_raw.datasets.decoded_cache import DecodedCache, read_reference
from restore_hub_raw.datasets.mosaic_cut import check_crop
from restore_hub_raw.noise.noise_file import read_noise_file
from restore_hub_raw.synthesis.make_pair import BLACK, WHITE, make_pair
from restore_hub_raw.synthesis.photos import list_photos
from restore_hub_raw.synthesis.recipe import SHOT, Recipe
from restore_hub_raw.synthesis.unprocess import read_noise

_TRIAL = (48, 64)  # size to try transforms at where there is no crop


class Photos:
    """Photographs with the RAW exposures that a camera could have made of them.

    Brooks et al., Unprocessing Images for Learned Raw Denoising, CVPR 2019. It does what the command `make-raw`
    does, without files in between, with a new white balance and new noise for each sample.

    - `raw` (4, h/2, w/2): the short exposure as `raw/pairs` gives it: planes R, Gr, Gb, B, black at 0,
      white-balanced, times the exposure ratio, clipped at 1. Noise can push values below 0.
    - `clean` (4, h/2, w/2): the same without noise, in [0, 1].
    - `rgb` (3, h, w): the photo, sRGB in [0, 1].

    Without a generator a sample is the whole photo, cut to even size, not augmented; its index decides its white
    balance and noise, so they are the same at each validation.

    Args:
        root: folder of PNG, TIFF and JPEG files.
        crop: side of a random square in pixels, even; `None` takes the whole photo.
        ratio: long over short exposure time, 1 to 300; given two, `[20, 300]`, each sample draws one between them,
            uniform in its logarithm.
        shot: shot noise; the variance is `shot * x + read` at the short exposure's signal x, where 1 is the
            sensor's saturation. `None` is 2e-4, some 5,000 electrons. Given two, it's drawn as `ratio` is.
        read: read noise, a variance; `None` is typical for `shot`.
        noise: YAML file with a camera's `shot` and `read`, as `restore-hub data noise` writes it, instead of both.
        augment: transforms of albumentations with their options, applied in this order to the crop while
            training: `{RandomBrightnessContrast: {p: 0.3}, GaussianBlur: {}}`. They must keep the size.
        cache_mb: decoded photos are kept in memory up to this size in MiB.

    Raises:
        DataError: a missing folder or one without photos, an unreadable noise file; on use, a crop larger
            than the photo. UnreadableFileError: on use, a damaged or truncated photo.
        OptionError: `crop` not even, `ratio`, `shot` or `read` out of range, `noise` beside `shot` or `read`, an
            unusable transform.
    """

    ports: ClassVar = {"raw": Port(4, "raw", scale=0.5), "rgb": Port(3, "srgb"), "clean": Port(4, "raw", scale=0.5)}

    def __init__(
        self,
        root: Path,
        crop: int | None = None,
        ratio: float | list[float] = 100.0,
        shot: float | list[float] | None = None,
        read: float | None = None,
        noise: Path | None = None,
        augment: dict[str, dict[str, Any]] | None = None,
        cache_mb: int = 512,
    ) -> None:
        check_crop("raw/photos", crop)
        shot, self._read = _noise_options(shot, read, noise)
        self._ratio, self._shot = _ends("ratio", ratio), _ends("shot", shot)
        self._recipes = [self._recipe(*ends) for ends in zip(self._ratio, self._shot, strict=True)]
        self._crop = crop
        self._augment = Augment(augment or {}, (crop, crop) if crop else _TRIAL)
        self._files = list_photos(Path(root))
        self._cache = DecodedCache(cache_mb)

    def __len__(self) -> int:
        return len(self._files)

    def files(self, index: int) -> Sequence[Path]:
        """Return the photo."""
        return (self._files[index],)

    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, NDArray[np.float32]]:
        """Return `raw` and `clean` (4, h/2, w/2), and `rgb` (3, h, w)."""
        levels = self._cache.get(read_reference, self._files[index])
        if rng is None:
            rng = np.random.default_rng(index)
            photo = _in_range(_whole(self._files[index], levels))
        else:
            photo = self._augment(_in_range(self._cut(index, levels, rng)), rng)
        recipe = self._drawn(rng)
        short, long, balance = make_pair(photo, recipe, rng)
        black, white = np.full(4, BLACK), np.full(4, WHITE)
        height, width, _ = photo.shape

        def packed(mosaic: NDArray[np.uint16], gain: float) -> NDArray[np.float32]:
            planes = pack(mosaic, PHASES[recipe.phase], black, white, balance, gain)
            return np.ascontiguousarray(planes[:, : height // 2, : width // 2])

        rgb = np.ascontiguousarray(photo.transpose(2, 0, 1))
        return {"raw": packed(short, recipe.ratio), "rgb": rgb, "clean": packed(long, 1.0)}

    def _recipe(self, ratio: float, shot: float) -> Recipe:
        return Recipe(ratio=ratio, shot=shot, read=read_noise(shot) if self._read is None else self._read)

    def _drawn(self, rng: np.random.Generator) -> Recipe:
        """Draw exposure ratio and shot noise where two are given; otherwise draw nothing."""
        low, high = self._recipes
        if low == high:
            return low
        ratio, shot = (a if a == b else a * (b / a) ** rng.random() for a, b in (self._ratio, self._shot))
        return self._recipe(ratio, shot)

    def _cut(self, index: int, photo: NDArray[np.uint16], rng: np.random.Generator) -> NDArray[np.uint16]:
        """Return a random crop, or the whole photo cut to even size."""
        if self._crop is None:
            return _whole(self._files[index], photo)
        height, width, _ = photo.shape
        if min(height, width) < self._crop:
            raise DataError("raw-data.crop-too-large", self._files[index], crop=self._crop, height=height, width=width)
        top, left = (int(rng.integers(side - self._crop + 1)) for side in (height, width))
        return photo[top : top + self._crop, left : left + self._crop]


def _noise_options(
    shot: float | list[float] | None, read: float | None, noise: Path | None
) -> tuple[float | list[float], float | None]:
    """Return the variances of shot noise, one or two, and of read noise, `None` where it follows from the other."""
    if noise is not None:
        if shot is not None or read is not None:
            raise OptionError("raw-noise.given-twice", "noise")
        model = read_noise_file(Path(noise))
        return model.shot, model.read
    return SHOT if shot is None else shot, read


def _ends(option: str, value: float | list[float]) -> tuple[float, float]:
    """Return the range that an option is drawn from; of one number, that number twice."""
    low, high = value if isinstance(value, list) and len(value) == 2 else (value, value)
    if isinstance(low, list) or isinstance(high, list) or not (low == high or 0 < low < high):
        raise OptionError("raw-data.bad-range", option, got=value)
    return low, high


def _whole(file: Path, photo: NDArray[np.uint16]) -> NDArray[np.uint16]:
    height, width = (side // 2 * 2 for side in photo.shape[:2])
    if not height * width:
        raise DataError("raw-data.photo-too-small", file, height=photo.shape[0], width=photo.shape[1], smallest=2)
    return photo[:height, :width]


def _in_range(photo: NDArray[np.uint16]) -> NDArray[np.float32]:
    return np.asarray(photo, np.float32) / np.float32(65535)
