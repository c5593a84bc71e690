"""Export: dynamic sizes, defaults, the manifest, and a gate that refuses what differs."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from restore_hub.contracts import Port
from restore_hub.export import deployed_block, deployed_chain, export_onnx, onnx_file
from restore_hub.model.sequence import load
from restore_hub.photo.raw.mosaic import pack
from restore_hub.plan import Chain, build_chain
from support import refused
from support.models import Make


@pytest.mark.parametrize("phase", list(itertools.product((0, 1), (0, 1))), ids=str)
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (19, 30), (48, 33)], ids=str)
def test_the_file_is_the_chain(small_chain: Chain, models: Path, size: tuple[int, int], phase: tuple[int, int]) -> None:
    """Run in plain onnxruntime, against the blocks in PyTorch on planes packed by the reader's numpy code."""
    rng = np.random.default_rng(1)
    mosaic = rng.integers(500, 5000, size).astype(np.uint16)
    black, white, balance = [512] * 4, [16383] * 4, [2.0, 1.0, 1.0, 1.5]
    planes = torch.from_numpy(pack(mosaic, phase, np.array(black), np.array(white), np.array(balance), 3.0))[None]
    rows, columns = (slice(p, p + n) for p, n in zip(phase, size, strict=True))
    with torch.inference_mode():  # `enhance` sees the picture without the lines that bring red to the corner
        rgb = small_chain.run(["generate"], {"data.raw": planes})["rgb"][..., rows, columns]
        expected = small_chain.run(["enhance"], {"rgb": rgb})["enhanced"][0].numpy()
    session = onnxruntime.InferenceSession(models / "chain.onnx", providers=["CPUExecutionProvider"])
    feeds = {"phase": np.array(phase), "black": np.float32(black), "white": np.float32(white),
             "balance": np.float32(balance), "gain": np.float32([3.0])}  # fmt: skip
    got = session.run(None, {"mosaic": mosaic[None, None].astype(np.float32), **feeds})[0][0]
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_the_mosaic_alone_is_enough(models: Path) -> None:
    model = load(models / "chain.onnx")
    mosaic = np.random.default_rng(0).random((1, 1, 12, 10), dtype=np.float32)
    zeros, ones = np.zeros(4, np.float32), np.ones(4, np.float32)
    spelled = {"mosaic": mosaic, "phase": np.zeros(2, np.int64), "black": zeros, "white": ones, "balance": ones}
    spelled["gain"] = np.ones(1, np.float32)
    assert np.array_equal(model({"mosaic": mosaic}), model(spelled))


def test_the_manifest_describes_inputs_and_origin(small_chain: Chain, models: Path) -> None:
    manifest = load(models / "chain.onnx").manifest
    assert manifest.kind == "raw-to-rgb"
    assert [tensor.name for tensor in manifest.inputs] == ["mosaic", "phase", "black", "white", "balance", "gain"]
    assert manifest.inputs[0].shape == [1, 1, "height", "width"]
    assert manifest.size_multiple == 4
    parameters = sum(tensor.numel() for tensor in small_chain.parameters())
    assert manifest.provenance == {"parameters": parameters}
    assert 0 <= manifest.parity <= 1e-4
    block = load(models / "enhance.onnx").manifest
    assert (block.kind, block.inputs[0].name, block.inputs[0].space) == ("rgb-to-rgb", "rgb", "srgb")


def test_the_file_is_one_valid_file_without_side_data(models: Path) -> None:
    assert sorted(path.name for path in models.iterdir()) == ["chain.onnx", "enhance.onnx"]
    assert not [path for path in models.iterdir() if b".py" in path.read_bytes()], "names of sources"
    model = onnx.load(models / "chain.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert not [t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    defaults = {t.name for t in model.graph.initializer} & {i.name for i in model.graph.input}
    assert defaults == {"phase", "black", "white", "balance", "gain"}


def test_a_file_that_differs_is_refused(small_chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights changed between tracing and the gate: the worst pixel is named, nothing is left behind."""
    module = deployed_block(small_chain, "enhance")
    real = onnx_file._traced

    def trace_then_change(given):
        model = real(given)
        for tensor in model.graph.initializer:
            if tensor.name.endswith("weight"):
                values = onnx.numpy_helper.to_array(tensor) + np.float32(0.05)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        return model

    monkeypatch.setattr(onnx_file, "_traced", trace_then_change)
    with refused("export.differs", "x.onnx", reference="PyTorch"):
        export_onnx(module, tmp_path / "x.onnx", name="x", licence=None, metrics={}, provenance={})
    assert list(tmp_path.iterdir()) == []


class Block(nn.Module):
    """Replaces `enhance`."""

    inputs, outputs, size_multiple = {"image": Port(3)}, {"image": Port(3)}, 1


class Halved(Block):
    """Fails when half the height rounds to zero."""

    def forward(self, image: Tensor) -> Tensor:
        half = nn.functional.interpolate(image, scale_factor=0.5, mode="bicubic")
        return nn.functional.interpolate(half, size=image.shape[-2:], mode="bicubic")


class Endless(Block):
    """Gives NaN everywhere."""

    def forward(self, image: Tensor) -> Tensor:
        return image / (image - image)


class Peaked(Block):
    """Gives infinity, only at the brightest pixel of each channel."""

    def forward(self, image: Tensor) -> Tensor:
        return image / (image - image.amax((2, 3), keepdim=True))


class Undecided(Block):
    """Has a graph that depends on the picture's values."""

    def forward(self, image: Tensor) -> Tensor:
        return image if image.mean() > 0.5 else 2 * image


@pytest.mark.parametrize(
    ("block", "code", "place", "facts"),
    [
        (Halved, "export.cannot-run", "enhance", {"height": 1, "width": 7}),
        (Endless, "export.not-finite", "x.onnx", {"height": 47, "width": 61}),
        (Peaked, "export.differs", "x.onnx", {"difference": np.inf, "size": "64x64, phase (0, 0)"}),
        (Undecided, "export.trace-failed", "enhanced", {}),
    ],
)
def test_a_block_that_cannot_be_deployed_is_one_error(
    make: Make, tmp_path: Path, capfd: Any, block: type[Block], code: str, place: str, facts: Any
) -> None:
    chain = build_chain(make()).eval()
    chain.blocks["enhance"] = block().eval()
    chain._wiring["enhance"] = (chain._wiring["enhance"][0], ("enhanced",))
    module = deployed_block(chain, "enhance")
    with refused(code, place, **facts):
        export_onnx(module, tmp_path / "x.onnx", name="x", licence=None, metrics={}, provenance={})
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_file_without_a_manifest_is_refused(models: Path, tmp_path: Path) -> None:
    model = onnx.load(models / "enhance.onnx")
    onnx.helper.set_model_props(model, {})
    onnx.save(model, tmp_path / "m.onnx")
    with refused("model.no-manifest", "m.onnx"):
        load(tmp_path / "m.onnx")


def test_a_tensor_without_fixed_channels_is_refused(make: Make) -> None:
    network = "{network: retinex/illumination, inputs: {image: rgb}, outputs: [enhanced, stages]}"
    chain = build_chain(make(f"blocks.enhance={network}")).eval()
    with refused("export.no-fixed-shape", tensor="stages"):
        deployed_chain(chain, "stages")
