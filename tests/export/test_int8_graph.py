"""Which nodes become int8."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from restore_hub.export.int8_graph import nodes_in_int8, to_int8
from support import refused


def _graph(*widths: int, between: str = "Relu") -> onnx.ModelProto:
    """Return 1x1 convolutions `conv0`, `conv1` … from width to width, each but the last with a node behind it."""
    nodes, weights, given = [], [], "x"
    for index, (i, o) in enumerate(itertools.pairwise(widths)):
        weights.append(onnx.numpy_helper.from_array(np.ones((o, i, 1, 1), np.float32), f"w{index}"))
        nodes.append(helper.make_node("Conv", [given, f"w{index}"], [f"c{index}"], name=f"conv{index}"))
        nodes.append(helper.make_node(between, [f"c{index}"], [f"r{index}"], name=f"between{index}"))
        given = f"r{index}"
    nodes.pop()
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width, "h", "w"])
        for name, width in (("x", widths[0]), (f"c{len(widths) - 2}", widths[-1]))
    ]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def test_the_first_and_the_last_layer_stay_float32_and_a_bottleneck_does_not() -> None:
    inside = ["conv1", "between1", "conv2", "between2", "conv3", "between3", "conv4"]
    assert nodes_in_int8(_graph(3, 16, 16, 4, 16, 16, 3)) == inside
    assert nodes_in_int8(_graph(3, 16, 16, 3)) == ["conv1"]


def test_nodes_that_stay_float32_separate_networks() -> None:
    """Two networks one after the other: the narrow ends where they meet are not inside of either."""
    assert nodes_in_int8(_graph(16, 16, 3, 16, 16, between="Tanh")) == ["conv0", "conv3"]


def test_a_network_without_wide_convolutions_is_refused(models: Path) -> None:
    with refused("export.nothing-to-quantise", "t/chain", width=16):
        to_int8(models / "chain.onnx", iter([]))


def test_onnxruntime_s_refusal_is_passed_on(tmp_path: Path) -> None:
    onnx.save(_graph(16, 16, 16), tmp_path / "n.onnx")
    feeds = iter([{"nobody": np.zeros((1, 16, 2, 2), np.float32)}])
    with refused("export.int8-failed", "n.onnx"):
        to_int8(tmp_path / "n.onnx", feeds)
    assert [path.name for path in tmp_path.iterdir()] == ["n.onnx"]
