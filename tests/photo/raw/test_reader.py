"""What is read of RAW files: mosaic, phase, levels, white balance, tags; and how LibRaw renders them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rawpy

from restore_hub.photo.colour import camera_from_srgb
from restore_hub.photo.raw.mosaic import PHASES, exposure_gain, pack
from restore_hub.photo.raw.reader import read_raw, render_raw
from support.raw_files import MATRIX, RGGB, make_bare_dng, make_dng, make_noise


def scene(height: int, width: int) -> np.ndarray:
    """A smooth sensor picture (H, W, 3) in 0.1..0.5."""
    y, x = np.mgrid[:height, :width] / 24.0
    return np.stack([0.3 + 0.2 * np.sin(y + x), 0.3 + 0.2 * np.cos(y - x), 0.3 + 0.2 * np.sin(2 * x)], axis=-1)


def sampled(picture: np.ndarray, phase: tuple[int, int]) -> np.ndarray:
    """Mosaic a picture with black 64 and white 4095."""
    mosaic = np.empty(picture.shape[:2])
    for plane, colour in enumerate((0, 1, 1, 2)):
        y, x = plane // 2 ^ phase[0], plane % 2 ^ phase[1]
        mosaic[y::2, x::2] = picture[y::2, x::2, colour]
    return np.rint(64 + mosaic * 4031).astype(np.uint16)


@pytest.mark.parametrize("size", [(48, 48), (47, 49)])
def test_four_phases_of_one_scene_show_the_same(tmp_path: Path, size: tuple[int, int]) -> None:
    picture = scene(*size)
    for phase in PHASES.values():
        raw = read_raw(
            make_dng(tmp_path / "a.dng", sampled(picture, phase), phase=phase, balance=np.ones(4, np.float32))
        )
        planes = pack(raw.mosaic, raw.phase, raw.black, raw.white, raw.balance, 1.0)
        blocks = np.stack([planes[0], (planes[1] + planes[2]) / 2, planes[3]], axis=-1).repeat(2, 0).repeat(2, 1)
        cut = blocks[phase[0] : phase[0] + size[0], phase[1] : phase[1] + size[1]]
        assert np.abs(cut - picture)[2:-2, 2:-2].max() < 0.03  # one pixel of this scene is at most 0.017


def test_four_phases_render_alike(tmp_path: Path) -> None:
    pictures = []
    for phase in PHASES.values():
        make_dng(tmp_path / "a.dng", sampled(scene(48, 50), phase), phase=phase)
        pictures.append(render_raw(tmp_path / "a.dng") / 65535)
    assert pictures[0].shape == (48, 50, 3)
    for picture in pictures[1:]:
        assert np.abs(picture - pictures[0])[4:-4, 4:-4].mean() < 0.004


def test_matrix_and_balance_agree_with_libraws_rendering(tmp_path: Path) -> None:
    mosaic = np.empty((32, 32), np.uint16)
    for plane, level in enumerate((1200, 2100, 2100, 900)):
        mosaic[plane // 2 :: 2, plane % 2 :: 2] = level
    raw = read_raw(make_dng(tmp_path / "a.dng", mosaic))
    np.testing.assert_allclose(raw.to_srgb @ camera_from_srgb(MATRIX), np.eye(3), atol=1e-4)
    camera = pack(raw.mosaic, raw.phase, raw.black, raw.white, raw.balance, 1.0).mean(axis=(1, 2))[[0, 1, 3]]
    with rawpy.imread(str(tmp_path / "a.dng")) as libraw:
        plain = {"use_camera_wb": True, "no_auto_bright": True, "adjust_maximum_thr": 0}
        linear = libraw.postprocess(**plain, gamma=(1, 1), output_bps=16)
    np.testing.assert_allclose(linear[16, 16] / 65535, raw.to_srgb @ camera, atol=2e-3)


def test_rendering_keeps_the_stored_position_and_the_sensors_white(tmp_path: Path) -> None:
    make_dng(tmp_path / "a.dng", np.full((30, 40), 3600, np.uint16), orientation=6, balance=np.ones(4, np.float32))
    picture = render_raw(tmp_path / "a.dng")
    assert picture.shape == (30, 40, 3)
    linear = (3600 - 64) / (4095 - 64)
    assert picture[15, 20] / 65535 == pytest.approx([1.055 * linear ** (1 / 2.4) - 0.055] * 3, abs=2e-3)


def test_phase_is_that_of_the_active_area(tmp_path: Path) -> None:
    # DNG counts the pattern from the active area's corner; LibRaw then begins at the next even line.
    for top, left in [(0, 0), (1, 0), (0, 1), (1, 1), (2, 3)]:
        mosaic = np.empty((60, 60), np.uint16)
        for plane, level in enumerate((4000, 3000, 2000, 1000)):
            mosaic[(top + plane // 2) % 2 :: 2, (left + plane % 2) % 2 :: 2] = level
        area = [(50829, 4, 4, (top, left, 60, 58), True)]
        raw = read_raw(make_bare_dng(tmp_path / "a.dng", mosaic, RGGB, area))
        y, x = raw.phase
        assert raw.mosaic[y, x] == 4000
        assert raw.mosaic[y, x ^ 1] == 3000
        assert raw.mosaic[y ^ 1, x] == 2000


@pytest.mark.parametrize("corner", [(0, 0), (1, 0), (0, 1), (1, 1), (2, 3), (4, 2)])
def test_black_levels_stand_where_the_file_has_them(tmp_path: Path, corner: tuple[int, int]) -> None:
    """One signal under four blacks is flat once they are subtracted; LibRaw alone mixes them up at odd corners."""
    top, left = corner
    mosaic = np.full((60, 60), 1000, np.uint16)
    for plane, level in enumerate((40, 30, 20, 10)):
        mosaic[(top + plane // 2) % 2 :: 2, (left + plane % 2) % 2 :: 2] += level
    tags = [(50829, 4, 4, (top, left, 60, 58), True), (50713, 3, 2, (2, 2), True)]
    tags += [(50714, 4, 4, (40, 30, 20, 10), True), (50717, 4, 1, 5000, True)]
    raw = read_raw(make_bare_dng(tmp_path / "a.dng", mosaic, RGGB, tags))
    assert raw.black.tolist() == [40, 30, 20, 10]
    planes = pack(raw.mosaic, raw.phase, raw.black, [5000] * 4, [1] * 4, 1) * (5000 - raw.black[:, None, None])
    np.testing.assert_allclose(planes, 1000, rtol=1e-6)
    assert raw.sensor == (60, 60)
    assert (raw.origin[0] + raw.mosaic.shape[0], raw.origin[1] + raw.mosaic.shape[1]) == (60, 58)


def test_white_balance_keeps_saturation_white(tmp_path: Path) -> None:
    path = make_dng(tmp_path / "a.dng", make_noise(30, 30), balance=np.array([0.8, 1, 1, 1.6]))
    raw = read_raw(path)
    np.testing.assert_allclose(raw.balance, [1, 1.25, 1.25, 2], rtol=1e-5)
    full = np.full((30, 30), 4095, np.uint16)
    assert (pack(full, raw.phase, raw.black, raw.white, raw.balance, 1.0) == 1).all()
    assert render_raw(make_dng(tmp_path / "b.dng", full, balance=np.array([0.8, 1, 1, 1.6]))).min() == 65535


def test_share_of_clipped_sites(tmp_path: Path) -> None:
    mosaic = np.full((30, 40), 1000, np.uint16)
    mosaic[:15] = 4095
    assert read_raw(make_dng(tmp_path / "a.dng", mosaic)).clipped() == 0.5


@pytest.mark.parametrize(
    ("stops", "gain"),
    [(1024, None), (-2000, None), (100, None), (0.35, None), (-1.0, None), (1.0, 2.0), (3.0, 8.0), (19.0, 2.0**19)],
)
def test_gain_of_the_baseline_exposure(tmp_path: Path, stops: float, gain: float | None) -> None:
    tags = [(50730, 10, 1, (round(100 * stops), 100), True)]
    mosaic = np.full((30, 30), 6554, np.uint16)  # a tenth of the white level, 65535
    raw = read_raw(make_bare_dng(tmp_path / "a.dng", mosaic, RGGB, tags))
    assert raw.baseline_exposure == pytest.approx(stops)
    assert raw.gain == gain
    used, rule = exposure_gain(raw)
    assert used == pytest.approx(1.8 if gain is None else gain, rel=1e-3)
    assert rule.startswith("brings the mean green" if gain is None else "stated in the file")


def test_noise_profile(tmp_path: Path) -> None:
    stated = np.array([[1e-4, 1e-7], [2e-4, 2e-7], [2e-4, 2e-7], [3e-4, 3e-7]])
    raw = read_raw(make_dng(tmp_path / "a.dng", make_noise(30, 30), noise=stated))
    np.testing.assert_array_equal(raw.noise, stated)
    one = make_bare_dng(tmp_path / "b.dng", make_noise(30, 30), RGGB, [(51041, 12, 2, (1e-4, 1e-7), True)])
    np.testing.assert_array_equal(read_raw(one).noise, [[1e-4, 1e-7]] * 4)
    for bad in ((float("nan"), 1.0), (-1.0, 1.0), (0.0, 0.0), (1.0, 2.0, 3.0)):
        tags = [(51041, 12, len(bad), bad, True)]
        assert read_raw(make_bare_dng(tmp_path / "b.dng", make_noise(30, 30), RGGB, tags)).noise is None


def opcodes(*codes: int) -> bytes:
    entries = [struct.pack(">IIII", code, 0x01030000, 0, 4) + b"abcd" for code in codes]
    return struct.pack(">I", len(codes)) + b"".join(entries)


def test_corrections_that_the_file_asks_for_are_named_and_left_alone(tmp_path: Path) -> None:
    def read(data: bytes) -> Any:
        tags = [(51009, 7, len(data), data, True)]
        return read_raw(make_bare_dng(tmp_path / "a.dng", make_noise(30, 30), RGGB, tags))

    words = {(9,): ["lens shading"], (8, 1, 3): ["lens shading", "warp"], (8,): [], (4,): ["bad pixels"]}
    for codes, expected in words.items():
        raw = read(opcodes(*codes))
        assert [note.split(" left alone")[0] for note in raw.notes] == expected
        np.testing.assert_array_equal(raw.mosaic, make_noise(30, 30))
    assert len(read(opcodes(9, 9)[:30]).notes) == 1


def test_the_matrix_for_daylight_is_taken(tmp_path: Path) -> None:
    def tag(code: int, matrix: np.ndarray) -> tuple[Any, ...]:
        return (code, 10, 9, tuple(v for e in matrix.ravel() for v in (round(e * 10000), 10000)), True)

    lamp, sun = MATRIX + 0.05, MATRIX
    for first, second, light in [(lamp, sun, (17, 21)), (sun, lamp, (21, 17))]:
        tags = [tag(50721, first), tag(50722, second), (50778, 3, 1, light[0], True), (50779, 3, 1, light[1], True)]
        raw = read_raw(make_bare_dng(tmp_path / "a.dng", make_noise(30, 30), RGGB, tags))
        np.testing.assert_allclose(raw.camera_from_xyz, sun, atol=1e-4)


def test_white_balance_falls_back_to_daylight_and_to_one(tmp_path: Path) -> None:
    matrix = [(50721, 10, 9, tuple(v for e in MATRIX.ravel() for v in (round(e * 10000), 10000)), True)]
    known = read_raw(make_bare_dng(tmp_path / "a.dng", make_noise(30, 30), RGGB, matrix))
    unknown = read_raw(make_bare_dng(tmp_path / "b.dng", make_noise(30, 30), RGGB))
    assert (known.balance_source, unknown.balance_source) == ("daylight", "none")
    assert known.balance[1] == known.balance[2] == 1
    assert known.balance[0] > 1.5
    assert known.balance[3] > 1.2
    assert (unknown.balance.tolist(), unknown.to_srgb) == ([1, 1, 1, 1], None)


@pytest.mark.parametrize(("fraction", "expected"), [((1, 30), 1 / 30), ((0, 1000000), None), ((1, 0), None)])
def test_exposure_time_of_the_exif_directory(tmp_path: Path, fraction: tuple[int, int], expected: float | None) -> None:
    # tifffile writes no Exif directory: its tag gets a neighbour's number first, the directory goes to the end.
    path = make_bare_dng(tmp_path / "a.dng", make_noise(30, 30), RGGB, [(34664, 4, 1, 0, True)])
    data = path.read_bytes()
    start = len(data)
    exif = struct.pack("<HHHIII", 1, 33434, 5, 1, start + 18, 0) + struct.pack("<II", *fraction)
    tag = struct.pack("<HHII", 34664, 4, 1, 0)
    assert data.count(tag) == 1
    path.write_bytes(data.replace(tag, struct.pack("<HHII", 34665, 4, 1, start)) + exif)
    assert read_raw(path).exposure_time == (None if expected is None else pytest.approx(expected))
