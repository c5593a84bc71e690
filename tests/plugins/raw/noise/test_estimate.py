"""The noise of a sensor, measured from single pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rawpy

from restore_hub.photo.raw.mosaic import PHASES, RawImage
from restore_hub.photo.raw.reader import read_raw
from restore_hub_raw.noise.burst import estimate_from_burst
from restore_hub_raw.noise.estimate import estimate_from_image
from support import refused
from support.real import DATA, real
from support.sensor import BLACK, WHITE, agrees, foliage, shoot, smooth


@pytest.mark.parametrize(
    ("shot", "read"),
    [(2e-4, 2.9e-8), (2e-4, 1e-6), (1e-3, 1e-4), (1e-2, 1e-4), (5e-3, 0.0), (0.0, 1e-5), (0.0, 1e-3), (1e-5, 1e-6)],
)
def test_one_smooth_picture_gives_the_true_noise(shot: float, read: float) -> None:
    estimate = estimate_from_image(shoot(smooth(1024, 512), shot, read))
    model, fit = estimate.pooled.model, estimate.pooled
    agrees(estimate, shot, read + (1 / (WHITE - BLACK)) ** 2 / 12, [0.002, 0.1, 0.5], 0.04)
    assert abs(model.shot - shot) < 4 * fit.shot_error + 0.01 * shot
    assert abs(model.read - read) < 4 * fit.read_error + 0.01 * read
    assert fit.shot_error < 0.05 * (shot + read)


def test_errors_match_the_scatter_of_repeated_pictures() -> None:
    fits = [estimate_from_image(shoot(smooth(256, 512), 5e-4, 5e-6, seed)).pooled for seed in range(24)]
    for found, error in (
        ([fit.model.shot for fit in fits], np.mean([fit.shot_error for fit in fits])),
        ([fit.model.read for fit in fits], np.mean([fit.read_error for fit in fits])),
    ):
        assert 0.5 < np.std(found) / error < 1.6
    assert np.mean([fit.model.shot for fit in fits]) == pytest.approx(5e-4, rel=0.01)
    assert np.mean([fit.model.read for fit in fits]) == pytest.approx(5e-6, rel=0.03)


@pytest.mark.parametrize("phase", list(PHASES.values()))
def test_planes_keep_their_own_noise_and_levels(phase: tuple[int, int]) -> None:
    shots, reads = [1e-3, 2e-3, 4e-3, 8e-3], [1e-4, 4e-5, 2e-4, 2.5e-4]
    levels = {"black": [500, 600, 700, 800], "white": [4000, 8000, 12000, 16000]}
    raw = shoot(smooth(801, 511), shots, reads, phase=phase, **levels)
    second = shoot(smooth(801, 511), shots, reads, 1, phase=phase, **levels)
    for estimate in (estimate_from_image(raw), estimate_from_burst([raw, second])):
        assert [fit.model.shot for fit in estimate.planes] == pytest.approx(shots, rel=0.07)
        assert [fit.model.read for fit in estimate.planes] == pytest.approx(reads, rel=0.15)


def test_clipped_values_are_left_out() -> None:
    signal = np.minimum(smooth(800, 800, top=1.5), 1.2)
    estimate = estimate_from_image(shoot(signal, 1e-3, 1e-5))
    agrees(estimate, 1e-3, 1e-5, [0.01, 0.5, 0.95], 0.03)
    assert estimate.pooled.span[1] < 1
    assert "saturated" in " ".join(estimate.notes)
    # Below the level that the file calls white, and at a black level of 0.
    sensor = shoot(signal, 1e-3, 1e-5, white=12000)
    agrees(estimate_from_image(replace(sensor, white=np.full(4, 16383, np.float32))), 7.24e-4, 5.2e-6, [0.1, 0.6], 0.03)
    dark = shoot(smooth(800, 800, top=0.1), 2e-4, 1e-4, black=0)
    agrees(estimate_from_image(dark), 2e-4, 1e-4, [0.04, 0.09], 0.03)


def test_floats_give_the_same_noise() -> None:
    raw = shoot(smooth(), 1e-3, 1e-5)
    signal = ((raw.mosaic.astype(np.float32)) - BLACK) / (WHITE - BLACK)
    floats = replace(raw, mosaic=signal, black=np.zeros(4, np.float32), white=np.ones(4, np.float32))
    one, other = estimate_from_image(raw).pooled.model, estimate_from_image(floats).pooled.model
    assert (other.shot, other.read) == pytest.approx((one.shot, one.read), rel=1e-3)


@pytest.mark.parametrize("lam", [0.5, 2.0, 10.0])
def test_few_photons_count_in_full(lam: float) -> None:
    """Poisson noise is skewed and heavy-tailed there, but the selection of blocks mustn't depend on it."""
    shot, read = 1e-3, 5e-7
    estimate = estimate_from_image(shoot(np.full((700, 700), lam * shot), shot, read))
    agrees(estimate, shot, read, lam * shot, 0.03)
    assert "only the variance there is known" in " ".join(estimate.notes)


def half_grass(height: int, width: int) -> np.ndarray:
    """A signal (H, W) of slow waves with sharp patches, and grass-like texture on the left half."""
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:height, :width]
    signal = 0.4 + 0.3 * np.sin(y / 90 + x / 70) * np.cos(x / 110)
    for _ in range(60):
        top, left = rng.integers(0, height - 30), rng.integers(0, width - 30)
        signal[top : top + 30, left : left + 30] *= rng.uniform(0.2, 1.3)
    grass = rng.normal(0, 0.08, (height, width // 2))
    signal[:, : width // 2] *= 1 + (grass + np.roll(grass, 2, 0) + np.roll(grass, 2, 1)) / 1.5
    return np.clip(signal, 0.01, 0.95)


@pytest.mark.parametrize(("shot", "read"), [(2e-4, 1e-6), (1e-3, 1e-4)])
def test_texture_does_little(shot: float, read: float) -> None:
    agrees(estimate_from_image(shoot(half_grass(1000, 1200), shot, read)), shot, read, [0.1, 0.3, 0.5], 0.05)


@real
def test_texture_of_photographs_does_little() -> None:
    """Six photographs side by side, halved to lose noise of their own, most of which still counts."""
    from restore_hub.photo.pictures import read_picture

    files = sorted((DATA / "denoise" / "kodak24_part").rglob("*.png"))[:6]
    pictures = [read_picture(file).pixels[:500, :500, 1].reshape(250, 2, 250, 2).mean((1, 3)) for file in files]
    linear = np.concatenate(pictures, axis=1).astype(np.float64) ** 2.2
    scene = np.repeat(np.repeat(linear, 2, 0), 2, 1) * 0.8
    agrees(estimate_from_image(shoot(scene, 1e-3, 1e-4)), 1e-3, 1e-4, [0.02, 0.1, 0.5], 0.15)


@pytest.mark.parametrize(("shot", "read"), [(2e-4, 1e-6), (1e-3, 1e-4)])
def test_a_tenth_of_flat_picture_is_enough(shot: float, read: float) -> None:
    y, x = np.mgrid[:800, :800] / 800
    scene = np.where(x < 0.1, 0.02 + 0.9 * y, foliage(800))
    estimate = estimate_from_image(shoot(scene, shot, read))
    agrees(estimate, shot, read, [0.1, 0.4, 0.7], 0.1)
    assert "texture" in " ".join(estimate.notes)


def test_hot_pixels_do_not_matter() -> None:
    raw = shoot(smooth(), 1e-3, 1e-5)
    rng = np.random.default_rng(1)
    raw.mosaic[rng.integers(0, 512, 200), rng.integers(0, 512, 200)] = 16000
    agrees(estimate_from_image(raw), 1e-3, 1e-5, [0.01, 0.5], 0.05)


def test_several_pictures_are_measured_together() -> None:
    dark, bright = shoot(smooth(512, 512, 0.01), 5e-4, 1e-5), shoot(smooth(512, 512, 0.2) + 0.5, 5e-4, 1e-5, 1)
    together = estimate_from_image(dark, bright)
    agrees(together, 5e-4, 1e-5, [0.0, 0.5], 0.04)
    assert together.pooled.shot_error < estimate_from_image(dark).pooled.shot_error / 4
    assert "brightest level" in " ".join(estimate_from_image(dark).notes)
    assert "darkest level" in " ".join(estimate_from_image(bright).notes)
    assert together.notes == ()


def test_rounding_is_noted_and_refused_where_it_hides_the_noise() -> None:
    def rounded(raw: RawImage, step: int) -> RawImage:
        return replace(raw, mosaic=(np.rint(raw.mosaic / step) * step).astype(np.uint16))

    raw = shoot(smooth(), 2e-4, 4e-7)  # 10 levels in the dark
    read = 4e-7 + (16 / (WHITE - BLACK)) ** 2 / 12
    coarse = estimate_from_image(rounded(raw, 16))
    agrees(coarse, 2e-4, read, [0.002, 0.1], 0.05)
    assert "from rounding" in " ".join(coarse.notes)
    assert "rounding hides part" in " ".join(estimate_from_image(rounded(raw, 32)).notes)
    with refused("raw-noise.hidden-by-rounding", step=512):
        estimate_from_image(rounded(shoot(np.full((512, 512), 0.1) + smooth(top=0.02), 2e-4, 4e-7), 512))


@pytest.mark.parametrize("size", [(2, 2), (1, 40), (17, 15), (64, 64)])
def test_too_small_pictures_are_refused(size: tuple[int, int]) -> None:
    with refused("raw-noise.too-few-flat-blocks"):
        estimate_from_image(shoot(np.full(size, 0.2), 1e-3, 1e-4))
    with refused("raw-noise.too-few-still-blocks"):
        estimate_from_burst([shoot(np.full(size, 0.2), 1e-3, 1e-4, k) for k in range(2)])


def test_texture_or_saturation_alone_is_refused_and_a_saturated_plane_noted() -> None:
    for signal in (foliage(512), np.full((512, 512), 1.5)):
        with refused("raw-noise.too-few-flat-blocks"):
            estimate_from_image(shoot(signal, 0, 1e-6))
    signal = smooth()
    signal[::2, 1::2] = 2.0
    estimate = estimate_from_image(shoot(signal, 1e-3, 1e-5))
    assert any(note.startswith("Gr: too few flat blocks") for note in estimate.notes)
    assert estimate.planes[1] == estimate.pooled
    agrees(estimate, 1e-3, 1e-5, [0.01, 0.5], 0.05)


@real
def test_a_real_camera_agrees_with_its_masked_border() -> None:
    """Rows 16 to 24 above the picture see no light; their mean is 7 levels below the black that the file states."""
    path = DATA / "raw" / "tinydng_colorchart" / "colorchart.dng"
    raw = read_raw(path)
    with rawpy.imread(str(path)) as file:
        border = file.raw_image[12:24, 180:].astype(np.float64)
    truth = np.median([np.mean(np.diff(border[y::2, x::2], axis=1) ** 2) / 2 for y in (0, 1) for x in (0, 1)])
    black = np.full(4, border.mean(), np.float32)
    found = estimate_from_image(replace(raw, black=black)).pooled
    levels = float(raw.white[0]) - border.mean()
    assert found.model.read * levels**2 / truth == pytest.approx(1, abs=0.15)
    assert 4000 < 1 / found.model.shot < 9000  # electrons at white: half an electron a level, as at some ISO 400
    assert found.flat > 0.3


def headerless(name: str, shape: tuple[int, int], black: float, white: float) -> RawImage:
    mosaic = np.fromfile(DATA / "raw" / name, "<u2").reshape(shape)
    levels = {"black": np.full(4, black, np.float32), "white": np.full(4, white, np.float32)}
    return RawImage(mosaic, (0, 0), balance=np.ones(4, np.float32), balance_source="none", **levels)


@real
def test_a_busy_crop_is_plausible_and_noted_and_eight_bits_stored_as_ten_are_refused() -> None:
    black, white = 600, 15520
    crop = headerless("nikon_dsc1339_4cfa/DSC_1339_768x512_rggb.raw", (512, 768), black, white)
    estimate = estimate_from_image(crop)
    assert 25_000 < 1 / estimate.pooled.model.shot < 60_000
    assert estimate.pooled.model.read**0.5 * (white - black) < 4
    assert "texture" in " ".join(estimate.notes)
    with refused("raw-noise.hidden-by-rounding", step=4):
        estimate_from_image(headerless("openisp_test/test.RAW", (1080, 1920), 0, 1023))
