"""Files that take numbers: named, with a default or without, in sequence, merged, and beside a mosaic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from restore_hub.export import deployed_chain, onnx_file
from restore_hub.export.merge import merge
from restore_hub.model.manifest import RAW_NAMES
from restore_hub.model.sequence import ModelSequence, load
from restore_hub.plan import Plan, build_chain
from support import refused
from support.models import check_sound, join
from support.numbers import Denoised, Export, MakeSpec, blocks_of, exported
from support.once import made_once

FFDNET = "denoise: {network: ffdnet/net, width: 4, depth: 2, inputs: {image: rgb, INPUTS}, outputs: [clean]}"
SCALED = "scale: {network: kinds/scaled, inputs: {image: data.rgb, factor: data.factor}, outputs: [rgb]}"
GENERATE = "generate: {network: raw/unet, width: 2, depth: 1, inputs: {raw: data.raw}, outputs: [rgb]}"
FREE = FFDNET.replace("rgb", "data.rgb")
SIZES = [(1, 1), (8, 8), (21, 34)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `a.onnx`, whose sigma is the default of its port, and `b.onnx`, where the spec sets it."""

    def make(folder: Path) -> None:
        exported(folder, "a.onnx", blocks_of(FREE.replace("INPUTS", "")), tensor="clean")
        exported(folder, "b.onnx", blocks_of(FREE.replace("INPUTS", "sigma: 0.2")), tensor="clean")

    return made_once(tmp_path_factory, "numbers", make)


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


def _numbers(plan: Plan, tensor: str) -> list[tuple[str, list[float] | None]]:
    """Return the numbers that the chain up to a tensor takes in a file, each with its default."""
    inputs = deployed_chain(build_chain(plan), tensor).inputs
    return [(info.name, info.default) for info in inputs if info.is_number and info.name not in RAW_NAMES]


@pytest.mark.parametrize(
    ("inputs", "default"), [("sigma: data.sigma", 0.1), ("sigma: 0.2", 0.2), ("", 0.1), ("sigma: 0", 0.0)]
)
def test_a_number_that_is_written_in_the_spec_is_the_default(make_spec: MakeSpec, inputs: str, default: float) -> None:
    assert _numbers(make_spec(blocks_of(FREE.replace("INPUTS", inputs))), "clean") == [("sigma", [default])]


def test_the_graph_has_the_default_of_the_spec(files: Path) -> None:
    model, picture = load(files / "b.onnx"), _picture()
    np.testing.assert_array_equal(model({"rgb": picture}), model({"rgb": picture, "sigma": 0.2}))
    assert not np.array_equal(model({"rgb": picture}), model({"rgb": picture, "sigma": 0.15}))


def test_a_number_of_the_data_without_a_default_is_required(export: Export) -> None:
    path = export("a.onnx", blocks_of(SCALED, FFDNET.replace("INPUTS", "")), tensor="clean")
    check_sound(path)
    model = load(path)
    assert [i.name for i in model.manifest.inputs] == ["rgb", "factor", "offset", "sigma"]
    assert [n.default for n in model.manifest.numbers] == [None, [0.25], [0.1]]
    with refused("model.missing-input", name="factor"):
        model({"rgb": _picture()})


def test_two_numbers_of_one_name_are_told_apart(make_spec: MakeSpec) -> None:
    second = FFDNET.replace("denoise", "again").replace("rgb", "clean").replace("[clean]", "[cleaner]")
    plan = make_spec(blocks_of(FREE.replace("INPUTS", "sigma: 0.2"), second.replace("INPUTS", "")))
    assert _numbers(plan, "cleaner") == [("sigma", [0.2]), ("again.sigma", [0.1])]


def test_a_number_that_the_graph_ignores_is_noticed(
    files: Path, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exporter may fold what it takes for a constant; feeding defaults alone would miss it."""

    def folded(_module: object) -> onnx.ModelProto:
        model = onnx.load(files / "a.onnx")
        del model.metadata_props[:]
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([0.1]), "folded"))
        for node in model.graph.node:
            node.input[:] = ["folded" if name == "sigma" else name for name in node.input]
        return model

    monkeypatch.setattr(onnx_file, "_traced", folded)
    with refused("export.differs", "a.onnx", size="37x53, phase (0, 0)"):
        export("a.onnx", blocks_of(FREE.replace("INPUTS", "")), tensor="clean")


def test_files_in_sequence_share_numbers_by_name_and_so_does_their_merger(files: Path, export: Export) -> None:
    scale = export("scale.onnx", blocks_of(SCALED), tensor="rgb")
    one = files / "a.onnx"
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


def test_files_with_different_defaults_are_not_merged(files: Path, tmp_path: Path) -> None:
    with refused("export.defaults-differ", "b.onnx", input="sigma", expected=[pytest.approx(0.1)]):
        merge(join(files / "a.onnx", files / "b.onnx"), tmp_path / "merged.onnx")


def test_a_file_that_takes_raw_takes_numbers_too(make_spec: MakeSpec, export: Export) -> None:
    chain = build_chain(make_spec(blocks_of(GENERATE, FFDNET.replace("INPUTS", "sigma: data.sigma")))).eval()
    path = export("a.onnx", chain, tensor="clean")
    check_sound(path)
    model = load(path)
    assert model.manifest.kind == "raw-to-rgb"
    assert [i.name for i in model.manifest.inputs] == [*RAW_NAMES, "sigma"]
    mosaic = np.random.default_rng(0).random((1, 1, 9, 14), np.float32)
    pictures = [model({"mosaic": mosaic, "sigma": sigma}) for sigma in (0.05, 0.3)]
    assert pictures[0].shape == (1, 3, 9, 14)
    assert not np.allclose(*pictures)


def test_a_number_never_has_the_name_of_a_mosaic_s_input(make_spec: MakeSpec) -> None:
    scale = SCALED.replace("data.rgb", "rgb").replace("data.factor", "data.gain").replace("[rgb]", "[out]")
    assert _numbers(make_spec(blocks_of(GENERATE, scale)), "out") == [("scale.factor", None), ("offset", [0.25])]
