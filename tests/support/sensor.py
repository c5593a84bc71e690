"""A sensor with known noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from restore_hub.photo.raw.mosaic import RawImage, planes
from restore_hub_raw.noise.estimate import Estimate

BLACK, WHITE = 512, 16383


def smooth(height: int = 512, width: int = 512, top: float = 0.9) -> np.ndarray:
    """Return a signal that rises slowly to the right, most of it dark."""
    return 0.001 + top * np.linspace(0, 1, width) ** 2 * np.ones((height, 1))


def foliage(side: int) -> np.ndarray:
    """Return a square signal of waves of every length, the longer the stronger."""
    rng = np.random.default_rng(2)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    waves = np.fft.ifft2(np.fft.fft2(rng.normal(size=(side, side))) / np.maximum(frequency, 0.01) ** 1.5).real
    return np.clip(0.4 + 0.1 * waves / waves.std(), 0, 0.9)


def shoot(signal: np.ndarray, shot: Any, read: Any, seed: int = 0, **changes: Any) -> RawImage:
    """Expose a sensor; shot, read, black and white may be one number or four: R, Gr, Gb, B."""
    settings: dict[str, Any] = {"phase": (0, 0), "black": BLACK, "white": WHITE} | changes
    rng, phase = np.random.default_rng(seed), settings.pop("phase")
    shots, reads, black, white = (
        np.broadcast_to(np.asarray(v, np.float64), 4)
        for v in (shot, read, settings.pop("black"), settings.pop("white"))
    )
    mosaic = np.empty(signal.shape, np.uint16)
    for plane, (light, levels) in enumerate(zip(planes(signal, phase), planes(mosaic, phase), strict=True)):
        photons = rng.poisson(light / shots[plane]) * shots[plane] if shots[plane] else light
        value = photons + rng.normal(0, 1, light.shape) * np.sqrt(reads[plane])
        levels[...] = np.clip(np.rint(black[plane] + value * (white[plane] - black[plane])), 0, white[plane])
    ends = {"black": black.astype(np.float32), "white": white.astype(np.float32)}
    return RawImage(mosaic, phase, balance=np.ones(4, np.float32), balance_source="none", **ends, **settings)


def agrees(estimate: Estimate, shot: float, read: float, at: Any, within: float) -> None:
    """Check the variance of all planes at some signals, within a relative tolerance."""
    found = estimate.pooled.model.variance(at)
    np.testing.assert_allclose(found, shot * np.asarray(at) + read, rtol=within)
