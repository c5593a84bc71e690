"""A file that denoises mosaics as a model package of darktable 5.6, task `rawdenoise`, variant Bayer.

The package is a zip of one folder, called like the model's `id`, with `config.json` and `model_bayer.onnx`. By its
contract `bayer_v1` the graph takes (1, 4, T, T), the planes R, G1, G2, B of a tile, 0 black and 1 white and
white-balanced, and gives (1, 3, 2T, 2T) in the camera's colours, of which darktable keeps each site's own colour.
Source: darktable, `src/common/ai/restore.h` and `restore_raw_bayer.c`; darktable-ai, `rawdenoise-nind/model.yaml`.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from restore_hub.errors import ExportError
from restore_hub.files import write_file
from restore_hub.model.manifest import Manifest
from restore_hub.model.model import Model, load
from restore_hub.photo.raw.mosaic import GAIN_RANGE, MIDDLE_GREY

SUFFIX = ".dtmodel"
TILE = 512  # side of a tile in planes, the one that darktable's own model has
_TOLERANCE = 1e-4
_COLOURS = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 3]  # plane behind each site of red, green and blue, sites row by row
_SMALLEST = 1e-6  # mean of a tile, so that a black one divides by something


def export_darktable(source: Path, out: Path, *, tile: int = TILE, overwrite: bool = False) -> str:
    """Write a package that darktable imports; return its id.

    The exposure gain is found in the graph, tile by tile, by the rule of `restore`: the mean of green becomes 0.18.
    It only says how bright the network sees the tile; what comes out has the levels of what went in.

    Args:
        source: an exported file that takes a mosaic and gives one.
        out: `NAME.dtmodel`.
        tile: side of a tile in planes, an even number.
        overwrite: replace an existing `out`.

    Raises:
        ExportError: another kind of file, another suffix, an existing `out`, or a graph that gives other values in its
            new form.
        ModelFileError, DataError: `source` cannot be loaded, `out` cannot be written.
    """
    if out.suffix.lower() != SUFFIX:
        raise ExportError(f"{out}: darktable imports files that end in {SUFFIX}; write {out.with_suffix(SUFFIX).name}")
    if out.exists() and not overwrite:
        raise ExportError(f"{out} exists already; choose another name, or pass --overwrite")
    model = load(source)
    if model.manifest.kind != "raw-to-raw":
        raise ExportError(
            f"{source} is {model.manifest.kind}, and darktable's raw denoise takes a mosaic and gives one; export a "
            "network that denoises mosaics, as the pipeline raw_denoise does"
        )
    graph = _wrapped(onnx.load(model.path), tile)
    _check(model, graph, tile, source)
    name = "rawdenoise-" + (re.sub(r"[^a-z0-9]+", "-", out.stem.lower()).strip("-") or "restore-hub")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as package:
        for file, data in (("config.json", _config(name, model.manifest, tile)), ("model_bayer.onnx", graph)):
            entry = zipfile.ZipInfo(f"{name}/{file}", (1980, 1, 1, 0, 0, 0))  # no date, so the same bytes each time
            package.writestr(entry, data, zipfile.ZIP_DEFLATED)
    write_file(out, content.getvalue())
    return name


def _config(name: str, manifest: Manifest, tile: int) -> bytes:
    bayer = {
        "input_kind": "bayer_v1",
        "bayer_orientation": "force_rggb",
        "edge_pad": "mirror_cropped",
        "wb_norm": "as_shot",
        "output_scale": "absolute",  # of the input's brightness already: darktable need not match it
    }
    config: dict[str, Any] = {
        "id": name,
        "name": name.replace("-", " "),
        "description": f"{manifest.name}, exported by restore_hub; licence {manifest.licence}",
        "task": "rawdenoise",
        "arch": "restore_hub",
        "backend": "onnx",
        "version": "1.0",
        "tiling": True,
        "num_inputs": 1,
        "attributes": {"input_sizes": [tile], "model_bayer": bayer},
    }
    return json.dumps(config, indent=2).encode()


def _wrapped(model: onnx.ModelProto, tile: int) -> bytes:
    """Return the graph between planes and colours: planes to a mosaic and its gain before it, to colours behind it."""
    graph = model.graph
    (made,) = (output.name for output in graph.output)
    given = {entry.name for entry in graph.input}
    kept = [entry for entry in graph.initializer if entry.name != "gain"]  # the other defaults become constants
    constants = {
        "dt_axes": np.array([1, 2, 3]),
        "dt_green": np.array([1, 2]),
        "dt_grey": np.array(MIDDLE_GREY, np.float32),
        "dt_smallest": np.array(_SMALLEST, np.float32),
        "dt_low": np.array(GAIN_RANGE[0], np.float32),
        "dt_high": np.array(GAIN_RANGE[1], np.float32),
        "dt_one": np.array([1]),
        "dt_colours": np.array(_COLOURS),
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
        helper.make_node("Reshape", [made, "dt_tiles"], ["dt_split"]),
        helper.make_node("Transpose", ["dt_split"], ["dt_turned"], perm=[0, 2, 4, 1, 3]),
        helper.make_node("Reshape", ["dt_turned", "dt_planes"], ["dt_out"]),
        helper.make_node("Gather", ["dt_out", "dt_colours"], ["dt_sites"], axis=1),
        helper.make_node("DepthToSpace", ["dt_sites"], ["output"], blocksize=2, mode="CRD"),
    ]
    constants |= {"dt_tiles": np.array([1, tile, 2, tile, 2]), "dt_planes": np.array([1, 4, tile, tile])}
    assert {"mosaic", "gain"} <= given, "a raw-to-raw file has them"
    new = helper.make_graph(
        [*before, *graph.node, *after],
        graph.name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 4, tile, tile])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3, 2 * tile, 2 * tile])],
        [*kept, *(numpy_helper.from_array(value, name) for name, value in constants.items())],
    )
    whole = helper.make_model(
        new, opset_imports=model.opset_import, ir_version=model.ir_version, functions=model.functions
    )
    whole.producer_name = model.producer_name
    data: bytes = whole.SerializeToString()
    return data


def _check(model: Model, graph: bytes, tile: int, source: Path) -> None:
    """Refuse a graph that gives something else than the file does, at the sites that darktable reads."""
    planes = np.random.default_rng(0).uniform(-0.01, 0.1, (1, 4, tile, tile)).astype(np.float32)
    planes[0, :, 4:8, 4:8] = 1.5  # brighter than white, as the white balance makes it
    mosaic = planes.reshape(2, 2, tile, tile).transpose(2, 0, 3, 1).reshape(1, 1, 2 * tile, 2 * tile)
    wanted = MIDDLE_GREY / planes[:, 1:3].mean(dtype=np.float64)
    gain = np.array([np.clip(wanted, *GAIN_RANGE)], np.float32)
    expected = model({"mosaic": mosaic, "gain": gain})[0, 0]
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    colours = session.run(None, {"input": planes})[0][0]
    for place, colour in (((0, 0), 0), ((0, 1), 1), ((1, 0), 1), ((1, 1), 2)):
        sites = (slice(place[0], None, 2), slice(place[1], None, 2))
        difference = float(np.abs(colours[colour][sites] - expected[sites]).max())
        if not difference <= _TOLERANCE:
            raise ExportError(f"{source} differs by {difference:.2g} in darktable's form; nothing is written")
