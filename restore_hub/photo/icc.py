"""ICC profiles: that of sRGB, and whether another one is the same."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from PIL import Image, ImageCms

_ALIKE = 3  # levels of 255 by which makers' sRGB profiles differ from each other


@cache
def srgb_profile() -> bytes:
    """Return an sRGB profile (IEC 61966-2-1), always the same bytes: without its date and checksum."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    data[24:36], data[84:100] = bytes(12), bytes(16)  # ICC.1, section 7.2
    return bytes(data)


def is_srgb(icc: bytes) -> bool:
    """Say whether a profile has the colours of sRGB, by converting some: anyone can call a profile sRGB.

    One that cannot be read isn't sRGB.
    """
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(36, 6, 3)
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        change = ImageCms.buildTransform(
            profile, ImageCms.createProfile("sRGB"), "RGB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
        converted = ImageCms.applyTransform(Image.fromarray(cube), change)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False
    return bool(np.abs(np.asarray(converted, np.int16) - cube).max() <= _ALIKE)


def profile_name(icc: bytes) -> str:
    """Return a profile's own name, or `an unreadable profile`."""
    try:
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(icc))).strip() or "no name"
    except (ImageCms.PyCMSError, OSError, ValueError):
        return "an unreadable profile"
