"""The planes of a mosaic that checks compare."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from restore_hub.photo.raw.mosaic import RawImage, pack

USABLE = (0.02, 0.9)  # signal of the long exposure that is neither black nor near saturation


def planes_of(raw: RawImage) -> NDArray[np.float32]:
    """Return R, Gr, Gb, B (4, h, w) of the whole tiles that begin with red, black at 0 and saturation at 1."""
    height, width = ((n - start) // 2 for n, start in zip(raw.mosaic.shape, raw.phase, strict=True))
    mosaic = raw.mosaic[raw.phase[0] :, raw.phase[1] :]
    return pack(mosaic, (0, 0), raw.black, raw.white, np.ones(4), 1.0)[:, :height, :width]
