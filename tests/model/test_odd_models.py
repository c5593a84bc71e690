"""Files that don't match their manifest, or need a later onnxruntime, end in one error before anything is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from restore_hub.model import tiled
from restore_hub.model.manifest import METADATA_KEY, Memory, Tiling
from restore_hub.model.sequence import load
from restore_hub.photo.picture_writer import write_picture
from restore_hub.runtime.folder import restore_folder
from restore_hub.runtime.restore import restore
from support import refused
from support.models import Write


@pytest.fixture(scope="module")
def manifest(models: Path) -> dict[str, Any]:
    found: dict[str, Any] = load(models / "enhance.onnx").manifest.model_dump(mode="json", exclude_none=True)
    return {**found, "outputs": found["outputs"][:1], "probe": {**found["probe"], "further": {}}}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    write_picture(tmp_path / "a.png", np.random.default_rng(0).random((20, 30, 3)))
    return tmp_path / "a.png"


@pytest.fixture
def build(manifest: dict[str, Any], tmp_path: Path) -> Write:
    """Return a function that writes a graph of one node, with sizes as given in graph and manifest."""

    def write(operator: str, channels: tuple[int, int], *constants: np.ndarray, opset: int = 20, ir: int = 10) -> Path:
        (given,), (made,) = manifest["inputs"], manifest["outputs"]
        shapes = [[1, count, "height", "width"] for count in channels]
        initial = [numpy_helper.from_array(value, f"c{index}") for index, value in enumerate(constants)]
        inputs = [given["name"], *([""] if operator == "Resize" else []), *(entry.name for entry in initial)]
        graph = helper.make_graph(
            [helper.make_node(operator, inputs, [made["name"]])],
            "g",
            [helper.make_tensor_value_info(given["name"], TensorProto.FLOAT, shapes[0])],
            [helper.make_tensor_value_info(made["name"], TensorProto.FLOAT, shapes[1])],
            initial,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
        stated = {**manifest, "inputs": [{**given, "shape": shapes[0]}], "outputs": [{**made, "shape": shapes[1]}]}
        helper.set_model_props(model, {METADATA_KEY: json.dumps(stated)})
        onnx.save(model, tmp_path / "m.onnx")
        return tmp_path / "m.onnx"

    return write


FIRST = [np.array([0]), np.array([1]), np.array([1])]  # of a slice: its start, end and axis
DOUBLE, HALF = (np.array([1, 1, factor, factor], np.float32) for factor in (2, 0.5))


@pytest.mark.parametrize(
    ("operator", "channels", "constants", "tile", "code"),
    [
        ("Identity", (4, 4), [], None, "model.wrong-inputs"),
        ("Slice", (3, 1), FIRST, None, "model.wrong-outputs"),
        ("Resize", (3, 3), [DOUBLE], None, "model.wrong-size"),
        ("Resize", (3, 3), [DOUBLE], 8, "model.wrong-size"),
        ("Resize", (3, 3), [HALF], None, "model.wrong-size"),
        ("Resize", (3, 3), [HALF], 8, "model.wrong-size"),
    ],
)
def test_other_channels_or_sizes_than_stated(
    build: Write, photo: Path, operator: str, channels: tuple[int, int], constants: Any, tile: int | None, code: str
) -> None:
    path = build(operator, channels, *constants)
    with refused(code, path):
        restore(path, photo, photo.with_name("o.png"), tile=tile)
    assert not photo.with_name("o.png").exists()


@pytest.mark.parametrize("newer", [{"ir": 99}, {"opset": 99}])
def test_a_file_for_a_later_onnxruntime(build: Write, newer: dict[str, int]) -> None:
    with refused("model.later-onnxruntime", "m.onnx"):
        load(build("Identity", (3, 3), **newer))


def test_a_failing_run_is_one_error(build: Write, capfd: pytest.CaptureFixture[str]) -> None:
    """onnxruntime would print its own account of it, in colour."""
    model = load(build("Gather", (3, 3), np.array([99])))
    with refused("model.run-failed", "m.onnx"):
        model({model.manifest.inputs[0].name: np.zeros((1, 3, 9, 9), np.float32)})
    assert capfd.readouterr() == ("", "")


def test_photographs_at_once_share_the_memory(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With memory for one photograph, two at once are refused if the file has no tiles."""
    (tmp_path / "in").mkdir()
    for name in "ab":
        write_picture(tmp_path / "in" / f"{name}.png", np.full((60, 60, 3), 0.5))
    loaded = load(models / "enhance.onnx")
    memory = Memory(base=1_000_000, per_pixel=100.0)
    needed = tiled.forecast(memory, 60, 60)
    monkeypatch.setattr(tiled, "available_memory", lambda: 1.1 * needed / tiled.NEARLY)
    whole = {"memory": memory, "tiling": Tiling(kind="none")}
    model = loaded.with_manifest(loaded.manifest.model_copy(update=whole))
    assert len(restore_folder(model, tmp_path / "in", tmp_path / "one").of("done")) == 2
    failed = restore_folder(model, tmp_path / "in", tmp_path / "two", jobs=2).of("failed")
    assert [result.photo.name for result in failed] == ["a.png", "b.png"]
    assert all("2 photographs (--jobs)" in result.reason for result in failed)
    assert len(restore_folder(model, tmp_path / "in", tmp_path / "three", jobs=2, tile=0).of("done")) == 2
