"""PSNR and SSIM against scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from restore_hub_std.metrics import Psnr, Ssim
from support import refused


def _pair(h: int, w: int, noise: float = 0.1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[:h, :w]
    target = 0.5 + 0.4 * np.stack([np.sin(yy / 5), np.cos(xx / 7), np.sin((xx + yy) / 9)], axis=-1)
    prediction = np.clip(target + rng.normal(0, noise, target.shape), 0, 1)
    return np.round(prediction * 255) / 255, np.round(target * 255) / 255


def test_psnr_of_a_known_error() -> None:
    target = np.full((4, 5, 3), 0.5)
    assert Psnr()(target + 0.1, target) == pytest.approx(20.0)
    uneven = target.copy()
    uneven[..., 0] += 0.1  # one channel of three: jointly, not the mean over channels
    assert Psnr()(uneven, target) == pytest.approx(20 + 10 * math.log10(3))
    assert Psnr()(target, target) == math.inf


@pytest.mark.parametrize("size", [(64, 48), (11, 11), (33, 17), (12, 100)])
@pytest.mark.parametrize("noise", [0.001, 0.02, 0.3])
def test_metrics_equal_scikit_image(size: tuple[int, int], noise: float) -> None:
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image, of the extra `demo`, is the reference")
    prediction, target = _pair(*size, noise)
    reference = metrics.structural_similarity(
        prediction, target, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=2
    )
    assert Ssim()(prediction, target) == pytest.approx(reference, abs=1e-9)
    if not np.array_equal(prediction, target):
        assert Psnr()(prediction, target) == pytest.approx(
            metrics.peak_signal_noise_ratio(target, prediction, data_range=1), abs=1e-9
        )


@pytest.mark.parametrize("metric", [Psnr(), Ssim()])
@pytest.mark.parametrize(
    ("one", "other", "code"),
    [
        ((16, 16, 3), (16, 15, 3), "shapes-differ"),
        ((16, 16), (16, 16), "not-a-picture"),
        ((0, 16, 3), (0, 16, 3), "not-a-picture"),
    ],
)
def test_other_shapes_are_refused(metric: Psnr | Ssim, one: tuple[int, ...], other: tuple[int, ...], code: str) -> None:
    with refused(f"std.{code}", type(metric).__name__.lower()):
        metric(np.zeros(one), np.zeros(other))
    with refused("std.below-window", "ssim", height=10, width=20):
        Ssim()(np.zeros((10, 20, 3)), np.zeros((10, 20, 3)))


def test_planes_are_measured_over_all_channels() -> None:
    planes = np.random.default_rng(0).uniform(0, 1, (16, 16, 4))
    off = planes + np.array([0, 0, 0, 0.1])
    assert Psnr()(off, planes) == pytest.approx(-10 * np.log10(0.01 / 4))
    assert Ssim()(planes, planes) == pytest.approx(1, abs=1e-12)
