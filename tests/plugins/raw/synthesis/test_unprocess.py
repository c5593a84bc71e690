from __future__ import annotations

import numpy as np
import pytest

from restore_hub.photo.colour import camera_from_srgb, linear_from_srgb
from restore_hub_raw.synthesis import unprocess


def test_tone_curve_and_gamma_are_inverted() -> None:
    x = np.linspace(0, 1, 101)
    np.testing.assert_allclose(unprocess.invert_tone_curve(3 * x**2 - 2 * x**3), x, atol=1e-7)
    encoded = np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-9) ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(linear_from_srgb(encoded), x, atol=1e-6)


def test_balance_is_undone_below_the_highlights_which_stay_saturated_and_in_order() -> None:
    balance = [2.0, 1.0, 1.0, 1.6]
    rgb = np.random.default_rng(0).uniform(0, 0.9, (5, 6, 3))
    np.testing.assert_allclose(unprocess.invert_balance(rgb, balance) * [2.0, 1.0, 1.6], rgb)
    grey = np.linspace(0, 1, 201)[:, None] * np.ones((201, 3))
    divided = unprocess.invert_balance(grey[None], balance)[0]
    np.testing.assert_allclose(divided[-1], 1)
    assert (np.diff(divided, axis=0) >= 0).all()
    assert (divided[1:-1, 0] < grey[1:-1, 0]).all()


def test_white_stays_neutral_through_the_matrix() -> None:
    photo = np.full((2, 2, 3), 0.5)
    balance = np.array([2.0, 1.0, 1.0, 1.6])
    seen = unprocess.sensor_rgb(photo, unprocess.CANON_6D, balance, tone=False)
    np.testing.assert_allclose(seen[0, 0] * balance[[0, 1, 3]], ((0.5 + 0.055) / 1.055) ** 2.4, rtol=1e-6)
    darker, plain = (unprocess.sensor_rgb(0.8 * photo, unprocess.CANON_6D, balance, tone=on) for on in (True, False))
    assert (darker > plain).all()  # the curve darkens what is below the middle
    matrix = camera_from_srgb(unprocess.CANON_6D)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    assert (np.argmax(matrix, axis=1) == [0, 1, 2]).all()


@pytest.mark.parametrize("phase", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_mosaic_takes_each_colour_at_its_sites(phase: tuple[int, int]) -> None:
    picture = np.random.default_rng(1).random((5, 7, 3))
    y, x = np.mgrid[:5, :7]
    colour = (y - phase[0]) % 2 + (x - phase[1]) % 2
    np.testing.assert_array_equal(unprocess.mosaic(picture, phase), picture[y, x, colour])


def test_noise_has_the_stated_mean_and_variance() -> None:
    signal, ratio, shot, read = 0.4, 20.0, 5e-3, 1e-4
    noisy = unprocess.expose(np.full(200_000, signal), ratio, shot, read, np.random.default_rng(0))
    expected = shot * signal / ratio + read
    assert noisy.mean() == pytest.approx(signal / ratio, abs=4 * (expected / noisy.size) ** 0.5)
    assert noisy.var() == pytest.approx(expected, rel=0.03)
    assert noisy.min() < 0
    # No noise is only a shorter exposure.
    signal = np.linspace(0, 1, 11)
    np.testing.assert_array_equal(unprocess.expose(signal, 4, 0, 0, np.random.default_rng(0)), signal / 4)


def test_read_noise_follows_the_papers_line() -> None:
    # log read = 2.18 log shot + 1.20 at the two ends of the paper's range
    assert np.log(unprocess.read_noise(1e-4)) == pytest.approx(-18.8785, abs=1e-3)
    assert np.log(unprocess.read_noise(0.012)) == pytest.approx(-8.4417, abs=1e-3)
    assert unprocess.read_noise(0) == 0


def test_levels_keep_noise_below_black_and_stop_at_the_ends() -> None:
    levels = unprocess.quantise(np.array([-1.0, -0.01, 0.0, 0.5, 1.0, 2.0]), 512, 16383)
    assert levels.dtype == np.uint16
    assert levels.tolist() == [0, 353, 512, 8448, 16383, 16383]


def test_balance_is_drawn_within_the_range() -> None:
    drawn = np.array([unprocess.draw_balance(np.random.default_rng(seed)) for seed in range(50)])
    assert (drawn >= [1.9, 1, 1, 1.5]).all()
    assert (drawn <= [2.4, 1, 1, 1.9]).all()
    assert np.ptp(drawn[:, 0]) > 0.3
