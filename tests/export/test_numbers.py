"""Files that take numbers: named, with a default or without, in sequence, merged, and beside a mosaic."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch

from restore_hub.export import onnx_file
from restore_hub.export.merge import merge
from restore_hub.model.manifest import RAW_NAMES
from restore_hub.model.sequence import ModelSequence, load
from restore_hub.plan import build_chain
from support import refused
from support.models import check_sound, join
from support.numbers import Denoised, Export, MakeSpec, blocks_of

FFDNET = "denoise: {network: ffdnet/net, width: 4, depth: 2, inputs: {image: rgb, INPUTS}, outputs: [clean]}"
SCALED = "scale: {network: kinds/scaled, inputs: {image: data.rgb, factor: data.factor}, outputs: [rgb]}"
FREE = FFDNET.replace("rgb", "data.rgb")
SIZES = [(1, 1), (8, 8), (21, 34)]


def _picture(height: int = 9, width: int = 12) -> np.ndarray:
    return np.random.default_rng(0).random((1, 3, height, width), np.float32)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("sigma", [0.0, 0.07, 0.3, None])
def test_a_trained_ffdnet_gives_what_pytorch_gives(denoised: Denoised, size: tuple[int, int], sigma: Any) -> None:
    picture, model = _picture(*size), load(denoised.file)
    given = model({"noisy": picture} if sigma is None else {"noisy": picture, "sigma": sigma})
    np.testing.assert_allclose(given, denoised.pytorch(picture, 0.1 if sigma is None else sigma), atol=1e-5)


def test_the_manifest_states_range_and_default(denoised: Denoised) -> None:
    check_sound(denoised.file)
    manifest = load(denoised.file).manifest
    (sigma,) = manifest.numbers
    assert (manifest.kind, manifest.tiling.kind) == ("rgb-to-rgb", "exact")
    assert (sigma.name, sigma.shape, sigma.low, sigma.high, sigma.default) == ("sigma", [1], 0, 0.3, [0.1])
    assert manifest.memory is not None


@pytest.mark.parametrize(
    ("inputs", "default"), [("sigma: data.sigma", 0.1), ("sigma: 0.2", 0.2), ("", 0.1), ("sigma: 0", 0.0)]
)
def test_a_number_that_is_written_in_the_spec_is_the_default(export: Export, inputs: str, default: float) -> None:
    model = load(export("a.onnx", blocks_of(FREE.replace("INPUTS", inputs)), tensor="clean"))
    assert [(n.name, n.default) for n in model.manifest.numbers] == [("sigma", [default])]
    picture = _picture()
    np.testing.assert_array_equal(model({"rgb": picture}), model({"rgb": picture, "sigma": default}))
    assert not np.array_equal(model({"rgb": picture}), model({"rgb": picture, "sigma": 0.15}))


def test_a_number_of_the_data_without_a_default_is_required(export: Export) -> None:
    path = export("a.onnx", blocks_of(SCALED, FFDNET.replace("INPUTS", "")), tensor="clean")
    check_sound(path)
    model = load(path)
    assert [i.name for i in model.manifest.inputs] == ["rgb", "factor", "offset", "sigma"]
    assert [n.default for n in model.manifest.numbers] == [None, [0.25], [0.1]]
    with refused("model.missing-input", name="factor"):
        model({"rgb": _picture()})


def test_two_numbers_of_one_name_are_told_apart(export: Export) -> None:
    second = FFDNET.replace("denoise", "again").replace("rgb", "clean").replace("[clean]", "[cleaner]")
    first = FREE.replace("INPUTS", "sigma: 0.2")
    model = load(export("a.onnx", blocks_of(first, second.replace("INPUTS", "")), tensor="cleaner"))
    assert [(n.name, n.default) for n in model.manifest.numbers] == [("sigma", [0.2]), ("again.sigma", [0.1])]


def test_a_number_that_the_graph_ignores_is_noticed(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter may fold what it takes for a constant; feeding defaults alone would miss it."""
    real = onnx_file._traced

    def folded(module: torch.nn.Module) -> onnx.ModelProto:
        model = real(module)
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([0.1]), "folded"))
        for node in model.graph.node:
            node.input[:] = ["folded" if name == "sigma" else name for name in node.input]
        return model

    monkeypatch.setattr(onnx_file, "_traced", folded)
    with refused("export.differs", "a.onnx", size="37x53, phase (0, 0)"):
        export("a.onnx", blocks_of(FREE.replace("INPUTS", "")), tensor="clean")


def test_files_in_sequence_share_numbers_by_name_and_so_does_their_merger(export: Export) -> None:
    scale = export("scale.onnx", blocks_of(SCALED), tensor="rgb")
    one = export("one.onnx", blocks_of(FREE.replace("INPUTS", "")), tensor="clean")
    sequence = load(join(scale, one, one))
    assert isinstance(sequence, ModelSequence)
    assert sequence.kind == "rgb-to-rgb"
    assert [i.name for i in sequence.inputs] == ["rgb", "factor", "offset", "sigma"]
    picture, first, second = _picture(), load(scale), load(one)
    expected = first({"rgb": picture, "factor": 1.5})
    for _ in range(2):
        expected = second({"rgb": expected, "sigma": 0.25})
    feeds = {"rgb": picture, "factor": np.float32([1.5]), "sigma": np.float32([0.25])}
    np.testing.assert_array_equal(sequence(feeds), expected)
    manifest = merge(join(scale, one, one), scale.with_name("merged.onnx"))
    check_sound(scale.with_name("merged.onnx"))
    assert manifest.inputs == sequence.inputs
    merged = load(scale.with_name("merged.onnx"))
    np.testing.assert_allclose(merged(feeds), expected, atol=1e-6)
    del feeds["sigma"]
    np.testing.assert_allclose(merged(feeds), sequence(feeds), atol=1e-6)
    with refused("model.unknown-input", name="sgima"):
        sequence({**feeds, "sgima": 0.1})


def test_files_with_different_defaults_are_not_merged(export: Export) -> None:
    one = export("one.onnx", blocks_of(FREE.replace("INPUTS", "")), tensor="clean")
    other = export("other.onnx", blocks_of(FREE.replace("INPUTS", "sigma: 0.2")), tensor="clean")
    with refused("export.defaults-differ", "other.onnx", input="sigma", expected=[pytest.approx(0.1)]):
        merge(join(one, other), one.with_name("merged.onnx"))


def test_a_file_that_takes_raw_takes_numbers_too(make_spec: MakeSpec, export: Export) -> None:
    generate = "generate: {network: raw/unet, width: 2, depth: 1, inputs: {raw: data.raw}, outputs: [rgb]}"
    chain = build_chain(make_spec(blocks_of(generate, FFDNET.replace("INPUTS", "sigma: data.sigma")))).eval()
    path = export("a.onnx", chain, tensor="clean")
    check_sound(path)
    model = load(path)
    assert model.manifest.kind == "raw-to-rgb"
    assert [i.name for i in model.manifest.inputs] == [*RAW_NAMES, "sigma"]
    mosaic = np.random.default_rng(0).random((1, 1, 9, 14), np.float32)
    pictures = [model({"mosaic": mosaic, "sigma": sigma}) for sigma in (0.05, 0.3)]
    assert pictures[0].shape == (1, 3, 9, 14)
    assert not np.allclose(*pictures)


def test_a_number_never_has_the_name_of_a_mosaic_s_input(make_spec: MakeSpec, export: Export) -> None:
    generate = "generate: {network: raw/unet, width: 2, depth: 1, inputs: {raw: data.raw}, outputs: [rgb]}"
    scale = SCALED.replace("data.rgb", "rgb").replace("data.factor", "data.gain").replace("[rgb]", "[out]")
    model = load(export("a.onnx", build_chain(make_spec(blocks_of(generate, scale))).eval(), tensor="out"))
    assert [n.name for n in model.manifest.numbers] == ["scale.factor", "offset"]
