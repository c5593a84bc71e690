"""A graph that denoises mosaics, in the form that darktable runs: planes in, colours out, one tile at a time.

By darktable's contract `bayer_v1`, the graph takes (1, 4, T, T): the planes R, G1, G2, B of a tile, black 0, white 1,
white-balanced. It gives (1, 3, 2T, 2T) in the camera's colours, and darktable keeps each site's own colour.
Source: darktable, `src/common/ai/restore_raw_bayer.c`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from restore_hub.model.model import Model
from restore_hub.photo.raw.mosaic import GAIN_RANGE, MIDDLE_GREY, planes

_TOLERANCE = 1e-4
_COLOURS = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 3]  # plane behind each site of red, green and blue, sites row by row
_SMALLEST = 1e-6  # mean of a tile, so that a black one divides by something


def bayer_graph(path: Path, tile: int) -> bytes:
    """Return the file's graph with nodes before it (planes to a mosaic, its gain) and after it (mosaic to colours).

    The graph finds the exposure gain of each tile by the rule that `restore` uses: the mean of green becomes 0.18. The
    gain only says how bright the network sees the tile; the output has the levels of the input.
    """
    model = onnx.load(path)
    graph = model.graph
    assert {"mosaic", "gain"} <= {entry.name for entry in graph.input}, "every raw-to-raw file takes them"
    (denoised,) = (output.name for output in graph.output)
    constants = {
        "dt_axes": np.array([1, 2, 3]),
        "dt_green": np.array([1, 2]),
        "dt_grey": np.array(MIDDLE_GREY, np.float32),
        "dt_smallest": np.array(_SMALLEST, np.float32),
        "dt_low": np.array(GAIN_RANGE[0], np.float32),
        "dt_high": np.array(GAIN_RANGE[1], np.float32),
        "dt_one": np.array([1]),
        "dt_colours": np.array(_COLOURS),
        "dt_tiles": np.array([1, tile, 2, tile, 2]),
        "dt_planes": np.array([1, 4, tile, tile]),
    }
    before = [
        helper.make_node("DepthToSpace", ["input"], ["mosaic"], blocksize=2, mode="CRD"),
        helper.make_node("Gather", ["input", "dt_green"], ["dt_greens"], axis=1),
        helper.make_node("ReduceMean", ["dt_greens", "dt_axes"], ["dt_mean"], keepdims=0),
        helper.make_node("Max", ["dt_mean", "dt_smallest"], ["dt_above"]),
        helper.make_node("Div", ["dt_grey", "dt_above"], ["dt_wanted"]),
        helper.make_node("Clip", ["dt_wanted", "dt_low", "dt_high"], ["dt_gain"]),
        helper.make_node("Reshape", ["dt_gain", "dt_one"], ["gain"]),
    ]
    after = [
        helper.make_node("Reshape", [denoised, "dt_tiles"], ["dt_split"]),
        helper.make_node("Transpose", ["dt_split"], ["dt_turned"], perm=[0, 2, 4, 1, 3]),
        helper.make_node("Reshape", ["dt_turned", "dt_planes"], ["dt_out"]),
        helper.make_node("Gather", ["dt_out", "dt_colours"], ["dt_sites"], axis=1),
        helper.make_node("DepthToSpace", ["dt_sites"], ["output"], blocksize=2, mode="CRD"),
    ]
    kept = [entry for entry in graph.initializer if entry.name != "gain"]  # other defaults become constants
    whole = helper.make_model(
        helper.make_graph(
            [*before, *graph.node, *after],
            graph.name,
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 4, tile, tile])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3, 2 * tile, 2 * tile])],
            [*kept, *(numpy_helper.from_array(value, name) for name, value in constants.items())],
        ),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
        functions=model.functions,
    )
    whole.producer_name = model.producer_name
    data: bytes = whole.SerializeToString()
    return data


def largest_difference(model: Model, graph: bytes, tile: int) -> float | None:
    """Return by how much the graph differs from the file at the sites that darktable reads; `None` within 1e-4."""
    packed = np.random.default_rng(0).uniform(-0.01, 0.1, (1, 4, tile, tile)).astype(np.float32)
    packed[0, :, 4:8, 4:8] = 1.5  # brighter than white, which white balance can make it
    mosaic = np.empty((1, 1, 2 * tile, 2 * tile), np.float32)
    for view, plane in zip(planes(mosaic[0, 0]), packed[0], strict=True):
        view[...] = plane
    gain = MIDDLE_GREY / packed[:, 1:3].mean(dtype=np.float64)
    expected = model({"mosaic": mosaic, "gain": np.array([np.clip(gain, *GAIN_RANGE)], np.float32)})[0, 0]
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    red, green, blue = session.run(None, {"input": packed})[0][0]
    read = planes(red)[0], planes(green)[1], planes(green)[2], planes(blue)[3]
    difference = max(float(np.abs(one - other).max()) for one, other in zip(read, planes(expected), strict=True))
    return None if difference <= _TOLERANCE else difference
