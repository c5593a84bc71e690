"""A block that denoises mosaics: planes go back to their sites and levels."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from restore_hub.export import deployed_chain, export_onnx
from restore_hub.export.raw_input import pack, unpack
from restore_hub.plan import build_chain, make_plan
from restore_hub.plugins import default_registry
from restore_hub.runtime import load
from restore_hub.spec import read_spec

SPEC = """
name: denoise
data:
  train: {dataset: raw/pairs, root: train, crop: 16}
blocks:
  denoise: {network: raw/denoiser, width: 2, depth: 1, inputs: {raw: data.raw}, outputs: [clean]}
objectives:
  fidelity: {loss: l1, inputs: {prediction: clean, target: data.raw}}
stages:
  - {solver: joint, steps: 1, blocks: [denoise], objective: fidelity, data: train, lr: 1e-3}
export: {blocks: [denoise], chain: clean}
"""
PHASES = list(itertools.product((0, 1), (0, 1)))


def levels(gain: float) -> list[torch.Tensor]:
    return [
        torch.tensor([500.0, 510, 520, 530]),
        torch.tensor([16000.0, 15900, 15800, 15700]),
        torch.tensor([2.0, 1, 1.1, 1.5]),
        torch.tensor([gain]),
    ]


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


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("denoiser")
    (folder / "spec.yaml").write_text(SPEC)
    torch.manual_seed(0)
    chain = build_chain(make_plan(read_spec(folder / "spec.yaml"), default_registry())).eval()
    with torch.no_grad():
        for parameter in chain.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    module = deployed_chain(chain, "clean")
    export_onnx(module, folder / "denoise.onnx", name="t", licence=None, metrics={}, provenance={})
    return folder / "denoise.onnx"


def test_the_file_says_that_a_mosaic_comes_out(exported: Path) -> None:
    manifest = load(exported).manifest
    assert manifest.kind == "raw-to-raw"
    assert manifest.outputs[0].shape == [1, 1, "height", "width"]
    assert manifest.outputs[0].space == "raw"
    assert [tensor.name for tensor in manifest.inputs] == ["mosaic", "phase", "black", "white", "balance", "gain"]


@pytest.mark.parametrize("phase", PHASES)
def test_levels_of_the_camera_go_in_and_come_out(exported: Path, phase: tuple[int, int]) -> None:
    """The same scene in other levels gives the same picture in those levels."""
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    signal = np.random.default_rng(0).uniform(0, 0.2, (21, 30)).astype(np.float32)
    plain = session.run(None, {"mosaic": signal[None, None], "phase": np.array(phase)})[0][0, 0]
    assert plain.shape == (21, 30)
    assert np.abs(plain - signal).max() > 0.01  # the weights do something
    feeds = {"black": np.float32([512] * 4), "white": np.float32([16383] * 4), "phase": np.array(phase)}
    level = session.run(None, {"mosaic": (512 + signal * 15871)[None, None], **feeds})[0][0, 0]
    np.testing.assert_allclose((level - 512) / 15871, plain, atol=1e-4)
