"""The noise of a sensor, measured from a burst."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from restore_hub.photo.raw.mosaic import RawImage
from restore_hub_raw.noise.burst import estimate_from_burst
from support import refused
from support.sensor import agrees, foliage, shoot


def frames(count: int, flicker: float = 0.0, patch: bool = False, side: int = 800) -> list[RawImage]:
    """Return a burst of a scene full of texture with a flickering lamp and, with `patch`, a moving bright square."""
    rng = np.random.default_rng(5)
    rise = np.linspace(0.02, 0.5, side)[:, None]
    scene = rise * (1 + rng.uniform(-0.5, 0.5, (side, side)))
    found = []
    for k in range(count):
        signal = scene * (1 + flicker * (k % 3 - 1))
        if patch:
            signal[50 + 30 * k : 200 + 30 * k, 60 + 20 * k : 260 + 20 * k] = 0.7
        found.append(shoot(signal, 4e-4, 1e-5, 10 + k))
    return found


@pytest.mark.parametrize(
    ("count", "flicker", "patch"), [(2, 0, False), (2, 0.03, True), (5, 0.05, True), (3, 0.2, True)]
)
def test_a_burst_ignores_texture_flicker_and_motion(count: int, flicker: float, patch: bool) -> None:
    estimate = estimate_from_burst(frames(count, flicker, patch))
    agrees(estimate, 4e-4, 1e-5, [0.05, 0.3], 0.03)
    assert estimate.pooled.model.read == pytest.approx(1e-5, rel=0.2)
    assert (estimate.pooled.flat > 0.98) is not patch


def test_a_burst_of_dark_frames_gives_the_read_noise_and_a_burst_has_one_setting() -> None:
    burst = [shoot(np.zeros((512, 512)), 0, 5e-6, k) for k in range(3)]
    agrees(estimate_from_burst(burst), 0, 5e-6, 0.0, 0.02)
    one, two = frames(2, side=128)
    names = ["one.dng", "two.dng"]
    with refused("raw-noise.single-frame", "one.dng"):
        estimate_from_burst([one], names[:1])
    changed = {
        "size": {"mosaic": two.mosaic[:-2]},
        "colour pattern": {"phase": (0, 1)},
        "black level": {"black": two.black + 1},
        "white level": {"white": two.white + 1},
        "exposure time": {"exposure_time": 0.5},
        "camera": {"camera": "other"},
    }
    for setting, change in changed.items():
        with refused("raw-noise.settings-differ", "two.dng", setting=setting, first="one.dng"):
            estimate_from_burst([one, replace(two, **change)], names)


def test_another_scene_or_a_moved_camera_is_refused() -> None:
    scene = foliage(514)
    here, there, elsewhere, again = (
        shoot(view, 2e-4, 1e-6, seed)
        for seed, view in enumerate((scene[:512, :512], scene[2:, :512], scene[511::-1, :512], scene[:512, :512]))
    )
    with refused("raw-noise.camera-moved", "b.dng"):
        estimate_from_burst([here, again, there], ["a.dng", "c.dng", "b.dng"])
    with refused("raw-noise.too-few-still-blocks"):
        estimate_from_burst([here, again, elsewhere])
    agrees(estimate_from_burst([here, again]), 2e-4, 1e-6, [0.3, 0.5], 0.03)
