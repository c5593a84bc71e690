from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rawpy

from restore_hub.errors import DataError
from restore_hub.photo.raw.mosaic import PHASES, RawImage
from restore_hub.photo.raw.reader import read_raw
from restore_hub_raw.noise.estimate import Estimate, estimate_from_burst, estimate_from_image
from restore_hub_raw.synthesis.sensor_noise import NoiseModel, read_noise_file, write_noise_file

DATA = os.environ.get("RESTORE_HUB_DATA")
real = pytest.mark.skipif(DATA is None, reason="RESTORE_HUB_DATA is not set")
BLACK, WHITE = 512, 16383


def smooth(height: int = 512, width: int = 512, top: float = 0.9) -> np.ndarray:
    """A signal that rises slowly to the right, dark values the most."""
    return 0.001 + top * np.linspace(0, 1, width) ** 2 * np.ones((height, 1))


def shoot(signal: np.ndarray, shot: Any, read: Any, seed: int = 0, **changes: Any) -> RawImage:
    """Expose a sensor; shot, read, black and white may be one number or four: R, Gr, Gb, B."""
    settings: dict[str, Any] = {"phase": (0, 0), "black": BLACK, "white": WHITE} | changes
    rng, phase = np.random.default_rng(seed), settings["phase"]
    shots, reads, black, white = (
        np.broadcast_to(np.asarray(v, np.float64), 4) for v in (shot, read, settings["black"], settings["white"])
    )
    mosaic = np.empty(signal.shape, np.uint16)
    for plane in range(4):
        site = np.s_[plane // 2 ^ phase[0] :: 2, plane % 2 ^ phase[1] :: 2]
        light = signal[site]
        photons = rng.poisson(light / shots[plane]) * shots[plane] if shots[plane] else light
        value = photons + rng.normal(0, 1, light.shape) * np.sqrt(reads[plane])
        mosaic[site] = np.clip(np.rint(black[plane] + value * (white[plane] - black[plane])), 0, white[plane])
    levels = {"black": black.astype(np.float32), "white": white.astype(np.float32)}
    return RawImage(mosaic, phase, balance=np.ones(4, np.float32), balance_source="none", **levels)


def agrees(estimate: Estimate, shot: float, read: float, at: Any, within: float) -> None:
    found = estimate.pooled.model.variance(at)
    np.testing.assert_allclose(found, shot * np.asarray(at) + read, rtol=within)


@pytest.mark.parametrize(
    ("shot", "read"),
    [(2e-4, 2.9e-8), (2e-4, 1e-6), (1e-3, 1e-4), (1e-2, 1e-4), (5e-3, 0.0), (0.0, 1e-5), (0.0, 1e-3), (1e-5, 1e-6)],
)
def test_one_smooth_picture_gives_the_truth(shot: float, read: float) -> None:
    estimate = estimate_from_image(shoot(smooth(1024, 512), shot, read))
    model, fit = estimate.pooled.model, estimate.pooled
    agrees(estimate, shot, read + (1 / (WHITE - BLACK)) ** 2 / 12, [0.002, 0.1, 0.5], 0.04)
    assert abs(model.shot - shot) < 4 * fit.shot_error + 0.01 * shot
    assert abs(model.read - read) < 4 * fit.read_error + 0.01 * read
    assert fit.shot_error < 0.05 * (shot + read)


def test_errors_are_what_repeated_pictures_scatter_by() -> None:
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
    estimate = estimate_from_image(raw)
    assert [fit.model.shot for fit in estimate.planes] == pytest.approx(shots, rel=0.07)
    assert [fit.model.read for fit in estimate.planes] == pytest.approx(reads, rel=0.15)
    burst = estimate_from_burst([raw, shoot(smooth(801, 511), shots, reads, 1, phase=phase, **levels)])
    assert [fit.model.shot for fit in burst.planes] == pytest.approx(shots, rel=0.07)
    assert [fit.model.read for fit in burst.planes] == pytest.approx(reads, rel=0.15)


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


def test_floats_are_measured_alike() -> None:
    raw = shoot(smooth(), 1e-3, 1e-5)
    signal = ((raw.mosaic.astype(np.float32)) - BLACK) / (WHITE - BLACK)
    floats = replace(raw, mosaic=signal, black=np.zeros(4, np.float32), white=np.ones(4, np.float32))
    one, other = estimate_from_image(raw).pooled.model, estimate_from_image(floats).pooled.model
    assert (other.shot, other.read) == pytest.approx((one.shot, one.read), rel=1e-3)


@pytest.mark.parametrize("lam", [0.5, 2.0, 10.0])
def test_few_photons_count_in_full(lam: float) -> None:
    """Poisson noise is skewed and heavy-tailed there, but no choice may depend on it."""
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
def test_photographs_do_little() -> None:
    """Six photographs side by side, halved to lose noise of their own, most of which is counted all the same."""
    from restore_hub.photo.pictures import read_picture

    files = sorted((Path(str(DATA)) / "denoise" / "kodak24_part").rglob("*.png"))[:6]
    pictures = [read_picture(file).pixels[:500, :500, 1].reshape(250, 2, 250, 2).mean((1, 3)) for file in files]
    linear = np.concatenate(pictures, axis=1).astype(np.float64) ** 2.2
    scene = np.repeat(np.repeat(linear, 2, 0), 2, 1) * 0.8
    agrees(estimate_from_image(shoot(scene, 1e-3, 1e-4)), 1e-3, 1e-4, [0.02, 0.1, 0.5], 0.15)


def foliage(side: int) -> np.ndarray:
    """A square signal of waves of every length, the longer the stronger."""
    rng = np.random.default_rng(2)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    waves = np.fft.ifft2(np.fft.fft2(rng.normal(size=(side, side))) / np.maximum(frequency, 0.01) ** 1.5).real
    return np.clip(0.4 + 0.1 * waves / waves.std(), 0, 0.9)


@pytest.mark.parametrize(("shot", "read"), [(2e-4, 1e-6), (1e-3, 1e-4)])
def test_a_tenth_of_flat_picture_is_enough(shot: float, read: float) -> None:
    y, x = np.mgrid[:800, :800] / 800
    scene = np.where(x < 0.1, 0.02 + 0.9 * y, foliage(800))
    estimate = estimate_from_image(shoot(scene, shot, read))
    agrees(estimate, shot, read, [0.1, 0.4, 0.7], 0.1)
    assert "texture" in " ".join(estimate.notes)


def test_nothing_but_texture_is_refused() -> None:
    with pytest.raises(DataError, match="too few"):
        estimate_from_image(shoot(foliage(512), 0, 1e-6))


def test_hot_pixels_do_nothing() -> None:
    raw = shoot(smooth(), 1e-3, 1e-5)
    rng = np.random.default_rng(1)
    raw.mosaic[rng.integers(0, 512, 200), rng.integers(0, 512, 200)] = 16000
    agrees(estimate_from_image(raw), 1e-3, 1e-5, [0.01, 0.5], 0.05)


def test_several_pictures_are_put_together() -> None:
    dark, bright = shoot(smooth(512, 512, 0.01), 5e-4, 1e-5), shoot(smooth(512, 512, 0.2) + 0.5, 5e-4, 1e-5, 1)
    together = estimate_from_image(dark, bright)
    agrees(together, 5e-4, 1e-5, [0.0, 0.5], 0.04)
    assert together.pooled.shot_error < estimate_from_image(dark).pooled.shot_error / 4
    assert "brightest level" in " ".join(estimate_from_image(dark).notes)
    assert "darkest level" in " ".join(estimate_from_image(bright).notes)
    assert together.notes == ()


def rounded(raw: RawImage, step: int) -> RawImage:
    return replace(raw, mosaic=(np.rint(raw.mosaic / step) * step).astype(np.uint16))


def test_rounding_is_told_and_refused_where_it_hides_the_noise() -> None:
    raw = shoot(smooth(), 2e-4, 4e-7)  # 10 levels in the dark
    read = 4e-7 + (16 / (WHITE - BLACK)) ** 2 / 12
    coarse = estimate_from_image(rounded(raw, 16))
    agrees(coarse, 2e-4, read, [0.002, 0.1], 0.05)
    assert "values are rounded" in " ".join(coarse.notes)
    assert "hidden by rounding" in " ".join(estimate_from_image(rounded(raw, 32)).notes)
    with pytest.raises(DataError, match=r"half the distance of stored values \(512\)"):
        estimate_from_image(rounded(shoot(np.full((512, 512), 0.1) + smooth(top=0.02), 2e-4, 4e-7), 512))


@pytest.mark.parametrize("size", [(2, 2), (1, 40), (17, 15), (64, 64)])
def test_too_little_is_an_error(size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"too few of \d+ blocks are flat and unclipped; give larger"):
        estimate_from_image(shoot(np.full(size, 0.2), 1e-3, 1e-4))
    with pytest.raises(DataError, match="give frames of one scene from a tripod"):
        estimate_from_burst([shoot(np.full(size, 0.2), 1e-3, 1e-4, k) for k in range(2)])


def test_a_saturated_picture_is_an_error_and_a_saturated_plane_a_note() -> None:
    with pytest.raises(DataError, match="unclipped"):
        estimate_from_image(shoot(np.full((512, 512), 1.5), 1e-3, 1e-4))
    signal = smooth()
    signal[::2, 1::2] = 2.0
    estimate = estimate_from_image(shoot(signal, 1e-3, 1e-5))
    assert any(note.startswith("Gr: too few flat blocks") for note in estimate.notes)
    assert estimate.planes[1] == estimate.pooled
    agrees(estimate, 1e-3, 1e-5, [0.01, 0.5], 0.05)


def frames(count: int, flicker: float = 0.0, patch: bool = False, side: int = 800) -> list[RawImage]:
    """A burst of a scene full of texture, whose lamp flickers, and where a bright square moves."""
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


def test_a_burst_of_dark_frames_gives_the_read_noise() -> None:
    burst = [shoot(np.zeros((512, 512)), 0, 5e-6, k) for k in range(3)]
    agrees(estimate_from_burst(burst), 0, 5e-6, 0.0, 0.02)


def test_a_burst_is_of_one_kind() -> None:
    one, two = frames(2, side=128)
    names = ["one.dng", "two.dng"]
    with pytest.raises(DataError, match=r"one\.dng: a burst has two frames or more"):
        estimate_from_burst([one], names[:1])
    changed = {
        "size": {"mosaic": two.mosaic[:-2]},
        "colour pattern": {"phase": (0, 1)},
        "black level": {"black": two.black + 1},
        "white level": {"white": two.white + 1},
        "exposure time": {"exposure_time": 0.5},
        "camera": {"camera": "other"},
    }
    for what, change in changed.items():
        with pytest.raises(DataError, match=rf"two\.dng: its {what} is .* one\.dng"):
            estimate_from_burst([one, replace(two, **change)], names)


def test_another_scene_or_a_camera_that_moved_is_no_burst() -> None:
    scene = foliage(514)
    here, there, elsewhere, again = (
        shoot(view, 2e-4, 1e-6, seed)
        for seed, view in enumerate((scene[:512, :512], scene[2:, :512], scene[511::-1, :512], scene[:512, :512]))
    )
    with pytest.raises(DataError, match=r"b\.dng: the camera moved"):
        estimate_from_burst([here, again, there], ["a.dng", "c.dng", "b.dng"])
    with pytest.raises(DataError, match=r"too few .* a tripod"):
        estimate_from_burst([here, again, elsewhere])
    agrees(estimate_from_burst([here, again]), 2e-4, 1e-6, [0.3, 0.5], 0.03)


def test_variance_follows_its_definition() -> None:
    np.testing.assert_allclose(NoiseModel(0.5, 0.25).variance([[-1, 0], [0.5, 1]]), [[0.25, 0.25], [0.5, 0.75]])


def test_noise_file_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "noise.yaml"
    model, planes = NoiseModel(1.6e-4, 2.8668090634808992e-08), [NoiseModel(k * 1e-4, 1e-8) for k in range(4)]
    write_noise_file(path, model, planes, "Some Camera", ["a.dng", "b: c.dng"])
    assert read_noise_file(path) == model
    assert "Some Camera" in path.read_text()
    write_noise_file(path, NoiseModel(1, 0))
    assert read_noise_file(path) == NoiseModel(1.0, 0.0)
    with pytest.raises(DataError, match="cannot be written"):
        write_noise_file(tmp_path / "missing" / "noise.yaml", model)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("shot: 1e-4\n", "'read' is missing"),
        ("shot: 1e-4\nread: 0\nred: 1\n", r"unknown key 'red' \(did you mean 'read'"),
        ("shot: -1e-4\nread: 0\n", r"'shot' is -0\.0001"),
        ("shot: 1e-4\nread: .nan\n", "'read' is nan"),
        ("shot: .inf\nread: 0\n", "'shot' is inf"),
        ("shot: true\nread: 0\n", "'shot' is True"),
        ("shot: lots\nread: 0\n", "'shot' is 'lots'"),
        ("shot: 1\nshot: 2\nread: 0\n", "not YAML"),
        ("shot: [1\n", "not YAML"),
        ("- 1\n", "a noise file is a mapping"),
        ("", "a noise file is a mapping"),
    ],
)
def test_a_bad_noise_file_is_one_clear_error(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "noise.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"^.*noise\.yaml: .*{reason}") as caught:
        read_noise_file(path)
    assert "\n" not in str(caught.value)


def test_a_noise_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.yaml: cannot be read"):
        read_noise_file(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00shot")
    with pytest.raises(DataError, match=r"binary\.yaml: no noise file"):
        read_noise_file(tmp_path / "binary.yaml")


@real
def test_a_real_camera_agrees_with_its_masked_border() -> None:
    """Rows 16 to 24 above the picture see no light; their mean is 7 levels below the black that the file states."""
    path = Path(str(DATA)) / "raw" / "tinydng_colorchart" / "colorchart.dng"
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


@real
@pytest.mark.parametrize(
    ("name", "shape", "black", "white"),
    [("nikon_dsc1339_4cfa/DSC_1339_768x512_rggb.raw", (512, 768), 600, 15520)],
)
def test_a_busy_crop_is_plausible_and_told(name: str, shape: tuple[int, int], black: int, white: int) -> None:
    mosaic = np.fromfile(Path(str(DATA)) / "raw" / name, "<u2").reshape(shape)
    levels = {"black": np.full(4, black, np.float32), "white": np.full(4, white, np.float32)}
    raw = RawImage(mosaic, (0, 0), balance=np.ones(4, np.float32), balance_source="none", **levels)
    estimate = estimate_from_image(raw)
    assert 25_000 < 1 / estimate.pooled.model.shot < 60_000
    assert estimate.pooled.model.read**0.5 * (white - black) < 4
    assert "texture" in " ".join(estimate.notes)


@real
def test_eight_bits_stored_as_ten_are_refused() -> None:
    mosaic = np.fromfile(Path(str(DATA)) / "raw" / "openisp_test" / "test.RAW", "<u2").reshape(1080, 1920)
    levels = {"black": np.zeros(4, np.float32), "white": np.full(4, 1023, np.float32)}
    raw = RawImage(mosaic, (0, 0), balance=np.ones(4, np.float32), balance_source="none", **levels)
    with pytest.raises(DataError, match=r"half the distance of stored values \(4\)"):
        estimate_from_image(raw)
