from __future__ import annotations

import numpy as np
import pytest

from restore_hub.photo.colour import linear_from_srgb
from restore_hub.photo.pictures import read_picture
from restore_hub_raw.checks.alignment import Shift, estimate_shift
from restore_hub_raw.synthesis.unprocess import expose, read_noise
from support import refused
from support.raw_pairs import texture
from support.real import DATA, real
from support.sampling import tenth

SHOT = 2e-4


def off(shift: Shift, dy: float, dx: float) -> float:
    return float(np.hypot(shift.dy - dy, shift.dx - dx))


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (0.5, -0.5), (1.5, -0.75), (-3.3, 7.1), (12, 20.25)])
def test_a_clean_shift_is_found_to_a_twentieth_of_a_pixel(dy: float, dx: float) -> None:
    shift = estimate_shift(texture(150, 200), texture(150, 200, dy=dy, dx=dx))
    assert shift.reliable
    assert off(shift, dy, dx) < 0.05


@pytest.mark.parametrize("ratio", [30, 100, 300])
def test_noise_costs_less_than_a_fifth_of_a_pixel(ratio: float) -> None:
    errors = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        dy, dx = rng.uniform(-4, 4, 2)
        short = expose(texture(300, 400, seed, dy, dx), ratio, SHOT, read_noise(SHOT), rng)
        shift = estimate_shift(texture(300, 400, seed), short)
        assert shift.reliable
        errors.append(off(shift, dy, dx))
    assert max(errors) < 0.2
    assert max(errors) > 1e-6  # there was noise


def test_brightness_and_clipping_do_not_matter() -> None:
    moved = np.minimum(texture(200, 200, dy=2.25, dx=-1.5), 0.4)  # a fifth is clipped
    assert (moved == 0.4).mean() > 0.1
    assert off(estimate_shift(texture(200, 200), 0.01 * moved - 3), 2.25, -1.5) < 0.05


@pytest.mark.parametrize(("dy", "dx"), [(60, -80), (-60, 80), (0, 80)])
def test_shifts_up_to_a_quarter_of_the_picture(dy: int, dx: int) -> None:
    scene = texture(480, 640)
    reference = scene[100:340, 100:420]
    moved = scene[100 - dy : 340 - dy, 100 - dx : 420 - dx]
    noisy = expose(moved, 100, SHOT, read_noise(SHOT), np.random.default_rng(0))
    for picture, most in ((moved, 0.005), (noisy, 0.2)):
        shift = estimate_shift(reference, picture)
        assert shift.reliable
        assert off(shift, dy, dx) < most


def unrelated(rng: np.random.Generator, height: int, width: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return pairs of pictures that don't determine a shift."""
    y, x = np.mgrid[:height, :width]
    noise = rng.normal(size=(4, height, width))
    rows = rng.normal(size=(height, 1))
    seed = int(rng.integers(2**31))
    vignette = 1 - ((y / height - 0.5) ** 2 + (x / width - 0.5) ** 2)
    photo = texture(height, width, seed)
    return {
        "noise": (noise[0], noise[1]),
        "photo and noise": (photo, noise[1]),
        "other photos": (photo, texture(height, width, seed + 1)),
        "flat": (np.ones((height, width)), np.full((height, width), 0.01)),
        "flat and noise": (np.ones((height, width)), noise[1]),
        "vignette": (vignette + 1e-3 * noise[0], vignette + 1e-3 * noise[1]),
        "gradient": (x / width + 1e-2 * noise[0], x / width + 0.1 * noise[1]),
        "banding": (rows + noise[0], rows + noise[1]),
        "stripes": (np.sin(0.3 * x) + 0.1 * noise[0], np.sin(0.3 * x) + 0.1 * noise[1]),
    }


@pytest.mark.parametrize("size", [(64, 80), (150, 200), (40, 300)])
def test_no_false_alarm(size: tuple[int, int]) -> None:
    for seed in range(25):
        for name, pair in unrelated(np.random.default_rng(seed), *size).items():
            shift = estimate_shift(*pair)
            assert not shift.reliable, (name, seed, shift)


@pytest.mark.long
def test_no_false_alarm_in_thousands() -> None:
    for seed in tenth("false alarms", range(300)):  # nine pairs each
        size = [(64, 80), (150, 200), (300, 400)][seed % 3]
        for name, pair in unrelated(np.random.default_rng((7, seed)), *size).items():
            assert not estimate_shift(*pair).reliable, (name, seed)


def test_the_stated_error_is_that_of_the_noise() -> None:
    rng = np.random.default_rng(0)
    reference = texture(200, 200)
    shifts = [estimate_shift(reference, reference + rng.normal(0, 0.3, reference.shape)) for _ in range(30)]
    seen = np.sqrt(np.mean([off(shift, 0, 0) ** 2 for shift in shifts]) / 2)  # of one axis
    stated = np.mean([shift.error for shift in shifts])
    assert seen / 2 < stated < 6 * seen  # the peak's own power counts as noise, so the estimate is cautious


def test_a_low_or_blurred_peak_is_unreliable() -> None:
    assert Shift(3, 4, confidence=20, error=0.1).reliable
    assert not Shift(3, 4, confidence=6, error=0.1).reliable
    assert not Shift(3, 4, confidence=20, error=0.3).reliable
    assert Shift(3, 4, confidence=20, error=0.1).length == 5


def test_large_pictures_are_reduced_and_stay_exact() -> None:
    shift = estimate_shift(texture(1500, 2100), texture(1500, 2100, dy=9.5, dx=-30.25))
    assert off(shift, 9.5, -30.25) < 0.05
    assert shift.spread < 0.1


def test_a_part_that_moves_alone_is_seen() -> None:
    still = texture(900, 900)
    moved = still.copy()
    moved[450:, 450:] = texture(900, 900, dy=0, dx=4)[450:, 450:]
    shift = estimate_shift(still, moved)
    assert off(shift, 0, 0) < 0.2
    assert shift.spread == pytest.approx(4, abs=0.2)


def test_agrees_with_scikit_image() -> None:
    registration = pytest.importorskip("skimage.registration", reason="scikit-image is in the extra `demo`")
    one, other = texture(200, 260), texture(200, 260, dy=-2.3, dx=5.6)
    back = registration.phase_cross_correlation(one, other, upsample_factor=100)[0]
    shift = estimate_shift(one, other)
    assert off(shift, -back[0], -back[1]) < 0.05


@pytest.mark.parametrize("shapes", [((64, 64), (64, 65)), ((20, 64), (20, 64)), ((64, 64, 3), (64, 64, 3))])
def test_other_shapes_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with refused("raw-check.cannot-align", size=shapes[0], other_size=shapes[1]):
        estimate_shift(np.zeros(shapes[0]), np.zeros(shapes[1]))


@real
def test_pairs_of_a_real_set_are_aligned() -> None:
    folder = DATA / "lowlight_paired" / "lol_our485"
    shifts = []
    for path in sorted((folder / "high").glob("*.png")):
        pictures = (read_picture(folder / side / path.name).pixels for side in ("high", "low"))
        high, low = (linear_from_srgb(pixels.astype(float).mean(axis=2)) for pixels in pictures)
        shifts.append(estimate_shift(high, np.minimum(low * high.mean() / low.mean(), 1)))
    assert len(shifts) == 15
    reliable = [shift for shift in shifts if shift.reliable]
    assert len(reliable) >= 12
    assert float(np.median([shift.length for shift in reliable])) < 0.3
