"""A block that denoises mosaics: planes go back to their sites and levels."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import rawpy
import torch

from restore_hub.export.raw_input import pack, unpack
from restore_hub.model.sequence import load
from restore_hub.photo.raw.mosaic import pack as pack_planes
from restore_hub.photo.raw.reader import read_raw
from restore_hub.runtime.folder import restore_folder
from restore_hub.runtime.restore import restore
from support import refused
from support.raw_files import make_dng, make_mosaic, make_noise

PHASES = list(itertools.product((0, 1), (0, 1)))


def levels(gain: float) -> list[torch.Tensor]:
    numbers = ([500.0, 510, 520, 530], [16000.0, 15900, 15800, 15700], [2.0, 1, 1.1, 1.5], [gain])
    return [torch.tensor(values) for values in numbers]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (8, 8), (7, 10)])
@pytest.mark.parametrize("gain", [1.0, 20.0])
def test_unpack_inverts_pack(size: tuple[int, int], phase: tuple[int, int], gain: float) -> None:
    generator = torch.Generator().manual_seed(0)
    mosaic = torch.randint(400, 16383, (1, 1, *size), generator=generator).float()
    given = [mosaic, torch.tensor(phase), *levels(gain)]
    torch.testing.assert_close(unpack(pack(*given), *given), mosaic, rtol=0, atol=0.01)


def test_what_the_gain_clips_keeps_its_value_and_the_rest_is_replaced() -> None:
    mosaic = torch.full((1, 1, 4, 4), 600.0)
    mosaic[..., 0, 0] = 15000.0
    given = [mosaic, torch.tensor((0, 0)), *levels(20.0)]
    made = unpack(torch.zeros(1, 4, 3, 3), *given)[0, 0]
    assert made[0, 0] == 15000
    assert made[2, 2] == 500
    assert made[0, 1] == 510


def test_the_file_says_that_a_mosaic_comes_out(denoiser: Path) -> None:
    manifest = load(denoiser).manifest
    assert manifest.kind == "raw-to-raw"
    assert manifest.outputs[0].shape == [1, 1, "height", "width"]
    assert manifest.outputs[0].space == "raw"
    assert [tensor.name for tensor in manifest.inputs] == ["mosaic", "phase", "black", "white", "balance", "gain"]


@pytest.mark.parametrize("phase", PHASES)
def test_levels_of_the_camera_go_in_and_come_out(denoiser: Path, phase: tuple[int, int]) -> None:
    """The same scene in other levels gives the same picture in those levels."""
    session = onnxruntime.InferenceSession(denoiser, providers=["CPUExecutionProvider"])
    signal = np.random.default_rng(0).uniform(0, 0.2, (21, 30)).astype(np.float32)
    plain = session.run(None, {"mosaic": signal[None, None], "phase": np.array(phase)})[0][0, 0]
    assert plain.shape == (21, 30)
    assert np.abs(plain - signal).max() > 0.01  # the weights do something
    feeds = {"black": np.float32([512] * 4), "white": np.float32([16383] * 4), "phase": np.array(phase)}
    level = session.run(None, {"mosaic": (512 + signal * 15871)[None, None], **feeds})[0][0, 0]
    np.testing.assert_allclose((level - 512) / 15871, plain, atol=1e-4)


@pytest.mark.parametrize("phase", PHASES)
def test_restore_writes_a_bayer_dng(denoiser: Path, tmp_path: Path, phase: tuple[int, int]) -> None:
    black, white, balance = np.float32([500, 510, 520, 530]), np.float32([16000] * 4), np.float32([2, 1, 1, 1.5])
    levels = {"black": black, "white": white, "balance": balance, "camera_from_xyz": np.eye(3) + 0.1}
    mosaic = np.random.default_rng(0).integers(600, 1500, (41, 50)).astype(np.uint16)
    mosaic[5:8, 5:8] = 16383  # clipped: passes as it is
    mosaic[30, 30] = 9000  # hot: repaired
    facts = {"orientation": 6, "exposure_time": 0.04, "gain": 8.0, "camera": "Acme X1", "noise": np.full((4, 2), 1e-4)}
    make_dng(tmp_path / "in.dng", mosaic, phase=phase, **levels, **facts)
    done = restore(denoiser, tmp_path / "in.dng", tmp_path / "out.dng")
    assert (done.height, done.width, done.bits) == (50, 41, 16)
    assert "1 hot pixel repaired" in done.notes
    out, read = read_raw(tmp_path / "out.dng"), read_raw(tmp_path / "in.dng", repair=True)
    assert (out.phase, out.orientation, out.camera, out.exposure_time) == (phase, 6, "Acme X1", pytest.approx(0.04))
    assert out.gain == pytest.approx(8)
    assert out.noise is None  # the stated noise is that of the input
    np.testing.assert_allclose(out.balance, balance, rtol=1e-5)
    np.testing.assert_allclose(out.camera_from_xyz, np.eye(3) + 0.1, atol=1e-5)
    assert (out.mosaic[5:8, 5:8] == 65535).all()
    feeds = {"mosaic": read.mosaic[None, None].astype(np.float32), "phase": np.array(phase), "black": black,
             "white": white, "balance": balance, "gain": np.float32([8])}  # fmt: skip
    session = onnxruntime.InferenceSession(denoiser, providers=["CPUExecutionProvider"])
    expected = session.run(None, feeds)[0]
    planes = [pack_planes(expected[0, 0], phase, black, white, [1] * 4, 1),
              pack_planes(out.mosaic, phase, out.black, out.white, [1] * 4, 1)]  # fmt: skip
    np.testing.assert_allclose(planes[1], planes[0], atol=1e-4)
    with rawpy.imread(str(tmp_path / "out.dng")) as opened:
        assert opened.postprocess(use_camera_wb=True).shape == (50, 41, 3)


def test_a_folder_of_mosaics_becomes_dngs(denoiser: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    make_dng(tmp_path / "photos" / "a.dng", make_noise(26, 34, 900))
    done = restore_folder(denoiser, tmp_path / "photos", tmp_path / "out", balance=(3, 1, 2))
    assert [(str(result.out), result.state) for result in done.results] == [("a.dng", "done")]
    np.testing.assert_allclose(read_raw(tmp_path / "out" / "a.dng").balance, [3, 1, 1, 2], rtol=1e-5)
    assert done.results[0].facts["notes"][2].endswith("by its colour matrix")
    with refused("restore.mosaic-needs-dng"):
        restore_folder(denoiser, tmp_path / "photos", tmp_path / "png", format="png")
    with refused("restore.mosaic-needs-dng", "out.png", name="out.dng"):
        restore(denoiser, tmp_path / "in.dng", tmp_path / "out.png")
    assert not (tmp_path / "png").exists()


def test_without_a_colour_matrix_the_record_says_so(denoiser: Path, tmp_path: Path) -> None:
    make_mosaic(tmp_path / "a.npy", make_noise(26, 34, 900), "cfa: rggb\nblack: 500\nwhite: 16000\n")
    done = restore(denoiser, tmp_path / "a.npy", tmp_path / "o.dng")
    assert "no colour matrix" in done.record["colour"]
    assert done.record["balance"] == {"factors": [1.0] * 4, "source": "none"}
    assert f"colour {done.record['colour']}" in done.notes
