from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import ImageCms

from restore_hub.photo.icc import is_srgb, profile_name, srgb_profile


def with_curve(gamma: float) -> bytes:
    """Return the sRGB profile with another tone curve, and still the name of sRGB."""
    profile = bytearray(srgb_profile())
    (count,) = struct.unpack_from(">I", profile, 128)
    tags = {name: place for name, place, _ in struct.iter_unpack(">4sII", profile[132 : 132 + 12 * count])}
    struct.pack_into(">4sIHHi", profile, tags[b"rTRC"], b"para", 0, 0, 0, round(gamma * 65536))  # type 0: a power
    return bytes(profile)


def test_the_profile_is_srgb_and_always_the_same() -> None:
    profile = srgb_profile()
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert profile == made[:24] + bytes(12) + made[36:84] + bytes(16) + made[100:]
    assert "sRGB" in profile_name(profile)
    assert ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip() == "RGB"
    assert is_srgb(profile)


def test_other_spaces_are_not_srgb() -> None:
    for gamma in (1.0, 1.8):
        assert "sRGB" in profile_name(with_curve(gamma)), "the name alone doesn't count"
        assert not is_srgb(with_curve(gamma))
    for kind in ("LAB", "XYZ"):
        assert not is_srgb(ImageCms.ImageCmsProfile(ImageCms.createProfile(kind)).tobytes())


@pytest.mark.parametrize("size", [0, 10, 127, 200, 400])
def test_damaged_profiles_are_not_srgb(size: int) -> None:
    assert not is_srgb(srgb_profile()[:size])
    noise = np.random.default_rng(size).bytes(size)
    assert not is_srgb(noise)
    assert profile_name(noise) == "an unreadable profile"
