"""The noise of a RAW sensor, in two numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

PLANES = ("R", "Gr", "Gb", "B")


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """Poisson-Gaussian noise: the variance at the signal x is `shot * x + read`.

    x is 0 at black and 1 at white, before white balance. Foi et al., "Practical Poissonian-Gaussian Noise
    Modeling and Fitting for Single-Image Raw-Data", IEEE TIP 2008, eq. 3; DNG's NoiseProfile (tag 51041).

    Attributes:
        shot: variance of photon noise at x = 1, which is 1 / electrons at white.
        read: variance without light.
    """

    shot: float
    read: float

    def variance(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return the variance at the signals `x`, any shape; photon noise is 0 at black and below."""
        return np.asarray(self.shot * np.maximum(np.asarray(x, np.float64), 0.0) + self.read)
