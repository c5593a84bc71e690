"""Methods without a network: rawpy's rendering, a fitted tone curve, non-local means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rawpy
from numpy.typing import NDArray

from restore_hub.photo.raw.reader import read_raw, render_raw

Picture = NDArray[np.float64]
# Of the denoiser, in estimated deviations of the noise; the best on the training pairs is used.
STRENGTHS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
SRGB_GAMMA = (2.4, 12.92)


def render(short: Path, gain: float) -> Picture:
    """Return rawpy's rendering of a dark RAW file brightened by `gain`: camera white balance, AHD, sRGB."""
    with rawpy.imread(str(short)) as raw:
        black, white = max(raw.black_level_per_channel), raw.white_level
        pixels = raw.postprocess(
            user_sat=max(round((white - black) / gain), 1),  # LibRaw counts it from black
            use_camera_wb=True,
            no_auto_bright=True,
            adjust_maximum_thr=0,
            output_bps=16,
            gamma=SRGB_GAMMA,
            user_flip=0,
        )
    return np.asarray(pixels, np.float64) / 65535.0


def reference(long: Path) -> Picture:
    """Return the rendering of the long exposure, the networks' target and the reference of all metrics."""
    return np.asarray(render_raw(long), np.float64) / 65535.0


@dataclass(frozen=True)
class Classical:
    """A tone curve for each channel and a denoising strength, both fitted to the training pairs."""

    curves: tuple[NDArray[np.float64], ...]
    strength: float

    def toned(self, picture: Picture) -> Picture:
        """Return the picture with the tone curve applied."""
        channels = [np.polyval(curve, picture[..., c]) for c, curve in enumerate(self.curves)]
        return np.clip(np.stack(channels, axis=2), 0.0, 1.0)

    def denoised(self, picture: Picture) -> Picture:
        """Return the toned picture after non-local means."""
        return denoise(self.toned(picture), self.strength)


def denoise(picture: Picture, strength: float) -> Picture:
    """Return non-local means of a picture; its noise level is estimated from the picture itself."""
    from skimage.restoration import denoise_nl_means, estimate_sigma

    sigma = float(np.mean(estimate_sigma(picture, channel_axis=2)))
    cleaned = denoise_nl_means(
        picture, patch_size=5, patch_distance=6, h=strength * sigma, sigma=sigma, fast_mode=True, channel_axis=2
    )
    return np.asarray(np.clip(cleaned, 0.0, 1.0))


def fit(pairs: Sequence[tuple[Path, Path]]) -> Classical:
    """Fit the tone curve by least squares (degree 3), and the strength by mean squared error, to training pairs."""
    rendered = [render(short, gain_of(short)) for short, _ in pairs]
    targets = [reference(long) for _, long in pairs]
    curves = tuple(
        np.polyfit(
            np.concatenate([r[..., c].ravel() for r in rendered]),
            np.concatenate([t[..., c].ravel() for t in targets]),
            3,
        )
        for c in range(3)
    )
    toned = [Classical(curves, 0.0).toned(r) for r in rendered]
    errors = {
        strength: np.mean([np.mean((denoise(p, strength) - t) ** 2) for p, t in zip(toned, targets, strict=True)])
        for strength in STRENGTHS
    }
    return Classical(curves, min(errors, key=lambda strength: errors[strength]))


def gain_of(short: Path) -> float:
    """Return the gain that the file itself asks for, which the networks get too."""
    gain = read_raw(short).gain
    if gain is None:
        raise SystemExit(f"{short}: the file states no BaselineExposure; make it with `restore-hub data make-raw`")
    return gain
