"""From a finished photo back to sensor values.

Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019. Each step inverts one of the camera's, in
the order tone curve, gamma, colour matrix, white balance, mosaic, noise. Values are floats; the sensor saturates at 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from restore_hub.photo.colour import camera_from_srgb, linear_from_srgb

# XYZ (D65) to camera of the Canon EOS 6D, the ColorMatrix2 that DNG files of this camera carry.
CANON_6D = np.array([[0.7034, -0.0804, -0.1014], [-0.4420, 1.2564, 0.2058], [-0.0851, 0.1994, 0.5758]])
RED_GAIN = (1.9, 2.4)  # ranges of camera white balances
BLUE_GAIN = (1.5, 1.9)
HIGHLIGHT = 0.9  # above this mean the white balance is undone only in part

Array = NDArray[np.float64]


def read_noise(shot: float) -> float:
    """Return the read noise typical of a shot noise, both variances: `log read = 2.18 log shot + 1.20`."""
    return math.exp(2.18 * math.log(shot) + 1.20) if shot > 0 else 0.0


def draw_balance(rng: np.random.Generator) -> Array:
    """Draw a camera's white balance of R, Gr, Gb, B."""
    red, blue = rng.uniform(*RED_GAIN), rng.uniform(*BLUE_GAIN)
    return np.array([red, 1.0, 1.0, blue])


def invert_tone_curve(picture: Array) -> Array:
    """Invert the tone curve `3 x^2 - 2 x^3`: `x = 1/2 - sin(asin(1 - 2 y) / 3)`."""
    return np.asarray(0.5 - np.sin(np.arcsin(1 - 2 * np.clip(picture, 0, 1)) / 3))


def invert_balance(picture: Array, balance: ArrayLike) -> Array:
    """Divide camera RGB (H, W, 3) by the white balance of R, Gr, Gb, B; highlights stay saturated.

    With y the mean of the three, `a = (max(y - t, 0) / (1 - t))^2` and a colour's gain g,
    `x' = max(x / g, (1 - a) x / g + a x)`.
    """
    red, green, _, blue = np.asarray(balance, np.float64)
    divided = picture / np.array([red, green, blue])
    a = (np.maximum(picture.mean(axis=-1, keepdims=True) - HIGHLIGHT, 0) / (1 - HIGHLIGHT)) ** 2
    return np.asarray(np.maximum(divided, (1 - a) * divided + a * picture))


def sensor_rgb(photo: Array, matrix: ArrayLike, balance: ArrayLike, tone: bool) -> Array:
    """Return what each pixel of the sensor would see in three colours: (H, W, 3) in [0, 1].

    Gamma is that of sRGB (IEC 61966-2-1), as renderers apply it; the paper uses the power 2.2.

    Args:
        photo: sRGB (H, W, 3) in [0, 1].
        matrix: XYZ (D65) to camera (3, 3).
        balance: white balance of R, Gr, Gb, B.
        tone: undo a tone curve too. A renderer that applies none then gives a darker picture than the photo.
    """
    linear = linear_from_srgb(invert_tone_curve(photo) if tone else photo)
    camera = np.clip(linear @ camera_from_srgb(matrix).T, 0, 1)
    return np.clip(invert_balance(camera, balance), 0, 1)


def mosaic(picture: Array, phase: tuple[int, int]) -> Array:
    """Keep one colour a pixel: (H, W, 3) to (H, W), red at `phase` of each 2x2 tile."""
    rows, columns = ((np.arange(n) + start) % 2 for n, start in zip(picture.shape, phase, strict=False))
    colour = rows[:, None] + columns  # 0 red, 1 green, 2 blue
    return np.take_along_axis(picture, colour[..., None], axis=2)[..., 0]


def expose(signal: Array, ratio: float, shot: float, read: float, rng: np.random.Generator) -> Array:
    """Expose `ratio` times shorter, and add noise of variance `shot * x + read` at the resulting signal x.

    Shot noise is drawn from a Poisson distribution, not from its Gaussian limit as in the paper, because dark
    pictures count few photons. Read noise may push values below 0.
    """
    dark = signal / ratio
    photons = rng.poisson(dark / shot) * shot if shot > 0 else dark
    return np.asarray(photons + rng.normal(0.0, math.sqrt(read), signal.shape))


def quantise(signal: Array, black: int, white: int) -> NDArray[np.uint16]:
    """Return the sensor's levels, clipped to 0 and `white`."""
    return np.clip(np.rint(black + signal * (white - black)), 0, white).astype(np.uint16)
