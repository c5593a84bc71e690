"""How RAW exposures are made from a photo."""

from __future__ import annotations

from dataclasses import dataclass

from restore_hub.errors import OptionError
from restore_hub.photo.raw.mosaic import GAIN_RANGE
from restore_hub_raw.synthesis.unprocess import read_noise

SHOT = 2e-4  # some 5,000 electrons at saturation


@dataclass(frozen=True, slots=True)
class Recipe:
    """How pairs are made.

    Attributes:
        ratio: long over short exposure time, 1 to 300, the range of gains that networks see.
        shot, read: the variance of the short exposure's noise is `shot * x + read` at signal x in [0, 1]; each is
            below 1, and `shot` is 0 or at least 1e-12.
        phase: one of `restore_hub.photo.raw.mosaic.PHASES`.
        seed: with a photo's name it decides white balance and noise, whatever other photos there are.
        size: longest side in pixels that larger photos are reduced to, or `None`.
        tone: undo a tone curve; the rendered long exposure is then darker than the photo.

    Raises:
        OptionError: a number out of its range, or not finite.
    """

    ratio: float = 100.0
    shot: float = SHOT
    read: float = read_noise(SHOT)
    phase: str = "rggb"
    seed: int = 0
    size: int | None = None
    tone: bool = False

    def __post_init__(self) -> None:
        low, high = GAIN_RANGE
        if not low <= self.ratio <= high:
            raise OptionError("raw-data.bad-ratio", "ratio", got=self.ratio, low=low, high=high)
        if not (self.shot == 0 or 1e-12 <= self.shot < 1):
            raise OptionError("raw-synthesis.bad-shot-noise", "shot", got=self.shot)
        if not 0 <= self.read < 1:
            raise OptionError("raw-synthesis.bad-read-noise", "read", got=self.read)
