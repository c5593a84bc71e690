"""Files that hold more than one picture in and out: several outputs, class maps, volumes, two pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from restore_hub.export import deployed_block, export_onnx
from restore_hub.model.manifest import parse_manifest
from restore_hub.model.sequence import load
from restore_hub.model.verify import verify
from restore_hub.plan import build_chain
from support import refused
from support.commands import output
from support.models import check_sound, join
from support.numbers import Export, MakeSpec, blocks_of

BLOCKS = {
    "segmenter": ("{image: data.rgb}", "classes, scores"),
    "colours": ("{classes: data.classes}", "image"),
    "blur3d": ("{volume: data.volume}", "blurred"),
    "registration": ("{moving: data.moving, fixed: data.fixed}", "field, moved"),
    "estimator": ("{image: data.rgb}", "sigma"),
}
AXES = {
    "segmenter": ([["3", "height", "width"]], [["height", "width"], ["5", "height", "width"]]),
    "blur3d": ([["1", "depth", "height", "width"]], [["2", "depth", "height", "width"]]),
    "estimator": ([["3", "height", "width"]], [[]]),
}


def _text(name: str) -> str:
    inputs, outputs = BLOCKS[name]
    return blocks_of(f"it: {{network: kinds/{name}, inputs: {inputs}, outputs: [{outputs}]}}")


@pytest.mark.parametrize("name", BLOCKS)
def test_every_output_is_what_pytorch_gives_and_the_manifest_states_every_axis(
    make_spec: MakeSpec, export: Export, name: str
) -> None:
    chain = build_chain(make_spec(_text(name))).eval()
    path = export("a.onnx", chain, block="it")
    check_sound(path)
    model, rng = load(path), np.random.default_rng(0)
    if name in AXES:
        sides = (model.manifest.inputs, model.manifest.outputs)
        assert tuple([[str(size) for size in info.shape[1:]] for info in side] for side in sides) == AXES[name]
        assert model.manifest.kind == "tensors"
        assert {len(sample) for sample in model.manifest.probe.samples} == {len(AXES[name][1][0]) + 1}
    extent = {"depth": 4, "height": 11, "width": 6}
    feeds = {
        i.name: rng.integers(0, 5, i.sized(extent)) if i.dtype == "int64" else rng.random(i.sized(extent), np.float32)
        for i in model.manifest.inputs
    }
    with torch.inference_mode():
        made = chain.blocks["it"](*map(torch.from_numpy, feeds.values()))
    given = model.outputs(feeds)
    assert list(given) == list(chain.outputs_of("it"))
    for array, tensor in zip(given.values(), made if isinstance(made, tuple) else (made,), strict=True):
        assert array.dtype == tensor.numpy().dtype
        np.testing.assert_allclose(array, tensor.numpy(), atol=1e-5)
    assert np.array_equal(model(feeds), next(iter(given.values())))


def test_a_block_exports_the_outputs_that_a_file_can_hold(export: Export) -> None:
    outputs = "[whole, half, stages, mask_of_all]"
    text = blocks_of(f"it: {{network: kinds/halves, inputs: {{image: data.rgb}}, outputs: {outputs}}}")
    path = export("a.onnx", text, block="it")
    check_sound(path)
    manifest = load(path).manifest
    assert (manifest.kind, [info.name for info in manifest.outputs]) == ("rgb-to-rgb", ["whole", "half", "mask_of_all"])
    assert [info.scale for info in manifest.outputs] == [1, 0.5, 1]
    said = output("inspect", path)
    assert "whole" in said
    assert "mask_of_all" in said
    columns = {line.index("float32") for line in said.splitlines() if "float32" in line}
    assert len(columns) == 1, "names of any length are in line"
    sequence = load(join(path, path))  # the first output goes on
    picture = np.random.default_rng(0).random((1, 3, 8, 9), np.float32)
    model = load(path)
    np.testing.assert_array_equal(sequence({"rgb": picture}), model({"rgb": model({"rgb": picture})}))
    made = sequence.outputs({"rgb": picture})
    assert list(made) == ["whole", "half", "mask_of_all"]
    assert made["half"].shape == (1, 3, 4, 5), "rounded up"


@pytest.mark.parametrize("name", ["whole", "half", "mask"])
def test_the_test_vector_covers_every_output(export: Export, name: str) -> None:
    text = blocks_of("it: {network: kinds/halves, inputs: {image: data.rgb}, outputs: [whole, half, stages, mask]}")
    path = export("a.onnx", text, block="it")
    manifest = load(path).manifest
    assert list(manifest.tested) == ["whole", "half", "mask"]
    graph = onnx.load(path)
    making = next(node for node in graph.graph.node if name in node.output)
    making.output[list(making.output).index(name)] = "before"
    for node in graph.graph.node:
        node.input[:] = ["before" if tensor == name else tensor for tensor in node.input]
    graph.graph.node.append(onnx.helper.make_node("Add", ["before", "before"], [name]))
    onnx.save(graph, path)
    with refused("model.test-vector-differs", output=name):
        load(path).verify()
    assert [check.name for check in verify(path) if check.result == "WRONG"] == ["test vector"]


def test_a_test_vector_of_other_outputs_is_a_damaged_manifest(export: Export) -> None:
    manifest = load(export("a.onnx", _text("segmenter"), block="it")).manifest.model_dump()
    del manifest["probe"]["further"]["scores"]
    with refused("model.damaged-manifest"):
        parse_manifest(json.dumps(manifest), Path("a.onnx"))


def test_a_first_output_that_no_file_can_hold_is_refused(export: Export) -> None:
    text = blocks_of("it: {network: kinds/halves, inputs: {image: data.rgb}, outputs: [whole, half, stages]}")
    with refused("export.no-fixed-shape", tensor="stages"):
        export("a.onnx", text, tensor="stages")


def test_a_file_may_give_another_scale_but_not_take_it(export: Export) -> None:
    text = blocks_of(
        "it: {network: kinds/halves, inputs: {image: data.rgb}, outputs: [whole, half]}",
        "then: {network: kinds/mixed, inputs: {image: half}, outputs: [image]}",
    )
    path = export("half.onnx", text, tensor="half")
    check_sound(path)
    manifest = load(path).manifest
    assert (manifest.kind, manifest.tiling.kind, manifest.outputs[0].scale) == ("tensors", "none", 0.5)
    check_sound(export("then.onnx", text, tensor="image"))
    with refused("export.not-full-size", tensor="half"):
        export("a.onnx", text, block="then")


class _Flipping(nn.Module):
    """Gives other classes in the exported graph, at every so many pixels of a row."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every, self.weight = every, nn.Parameter(torch.zeros(()))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        classes = (image.mean(1) > 0.5).long()
        if torch.compiler.is_exporting():
            place = torch.arange(classes.shape[1] * classes.shape[2]).reshape_as(classes)
            return torch.where(place % self.every == self.every - 1, 1 - classes, classes)
        return classes


@pytest.mark.parametrize("every", [2000, 100])
def test_a_class_may_be_another_where_rounding_decides(make_spec: MakeSpec, tmp_path: Any, every: int) -> None:
    chain = build_chain(make_spec(_text("segmenter"))).eval()
    ports = {name: getattr(chain.blocks["it"], name) for name in ("inputs", "outputs", "size_multiple")}
    chain.blocks["it"] = flipping = _Flipping(every)
    for name, value in ports.items():
        setattr(flipping, name, value)
    chain._wiring["it"] = (chain._wiring["it"][0], ("classes",))
    facts: dict[str, Any] = {"name": "x", "licence": None, "metrics": {}, "provenance": {}}
    if every == 2000:
        assert export_onnx(deployed_block(chain, "it"), tmp_path / "x.onnx", **facts).parity == 0
        return
    with refused("export.differs", "x.onnx", difference=1.0):
        export_onnx(deployed_block(chain, "it"), tmp_path / "x.onnx", **facts)
