"""Files that are not what their manifest says, of later versions, or no files at all: one line before they run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from restore_hub.errors import ModelFileError
from restore_hub.model import tiled
from restore_hub.model.manifest import METADATA_KEY, Memory, Tiling
from restore_hub.model.sequence import load
from restore_hub.photo.picture_writer import write_picture
from restore_hub.runtime.folder import restore_folder
from restore_hub.runtime.restore import restore

Build = Callable[..., Path]


@pytest.fixture(scope="module")
def manifest(models: Path) -> dict[str, Any]:
    found: dict[str, Any] = load(models / "enhance.onnx").manifest.model_dump(mode="json", exclude_none=True)
    return found


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    write_picture(tmp_path / "a.png", np.random.default_rng(0).random((20, 30, 3)))
    return tmp_path / "a.png"


@pytest.fixture
def build(manifest: dict[str, Any], tmp_path: Path) -> Build:
    """Return a function that writes a graph of one node, with sizes as given in graph and manifest."""

    def write(operator: str, channels: tuple[int, int], *constants: np.ndarray, **model: Any) -> Path:
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
        opset = model.pop("opset", 20)
        made_of = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
        made_of.ir_version = model.get("ir", 10)
        said = {**manifest, "inputs": [{**given, "shape": shapes[0]}], "outputs": [{**made, "shape": shapes[1]}]}
        helper.set_model_props(made_of, {METADATA_KEY: json.dumps(said)})
        path = tmp_path / "m.onnx"
        onnx.save(made_of, path)
        return path

    return write


def scale(factor: float) -> np.ndarray:
    return np.array([1, 1, factor, factor], np.float32)


def test_other_channels_than_a_picture_has(build: Build, photo: Path) -> None:
    first = [np.array([0]), np.array([1]), np.array([1])]
    for operator, channels, constants, said in [
        ("Identity", (4, 4), [], "a rgb-to-rgb file takes one picture of 1 x 3"),
        ("Slice", (3, 1), first, "a rgb-to-rgb file gives 1 x 3"),
    ]:
        path = build(operator, channels, *constants)
        with pytest.raises(ModelFileError, match=rf"m\.onnx: {said}.*; export it again"):
            restore(path, photo, photo.with_name("o.png"))
        assert not photo.with_name("o.png").exists()


@pytest.mark.parametrize("factor", [2.0, 0.5])
@pytest.mark.parametrize("tile", [None, 8])
def test_another_size_than_the_manifest_says(build: Build, photo: Path, factor: float, tile: int | None) -> None:
    path = build("Resize", (3, 3), scale(factor))
    with pytest.raises(ModelFileError, match=r"m\.onnx gives \(1, 3, .* pixels, and its manifest says"):
        restore(path, photo, photo.with_name("o.png"), tile=tile)
    assert not photo.with_name("o.png").exists()


@pytest.mark.parametrize("newer", [{"ir": 99}, {"opset": 99}])
def test_a_file_for_a_later_onnxruntime(build: Build, newer: dict[str, int]) -> None:
    with pytest.raises(ModelFileError, match=r"was made for a later onnxruntime \(.* \d+ here\); update onnxruntime"):
        load(build("Identity", (3, 3), **newer))


def test_what_goes_wrong_in_a_run_is_one_error(build: Build, capfd: pytest.CaptureFixture[str]) -> None:
    """onnxruntime would print its own account of it, in colour."""
    model = load(build("Gather", (3, 3), np.array([99])))
    with pytest.raises(ModelFileError, match="failed to run") as caught:
        model({model.manifest.inputs[0].name: np.zeros((1, 3, 9, 9), np.float32)})
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    for path, said in [
        (tmp_path, "is a folder, not a model file"),
        (tmp_path / "pipe.onnx", "is no ordinary file, not a model file"),
        (tmp_path / "none.onnx", "no such model file"),
    ]:
        with pytest.raises(ModelFileError, match=said):
            load(path)


def test_photographs_at_once_share_the_memory(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is memory for one photograph: two at once are told so, where the file has no tiles."""
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
    assert all("are free for one of 2 at once (--jobs)" in result.reason for result in failed)
    assert len(restore_folder(model, tmp_path / "in", tmp_path / "three", jobs=2, tile=0).of("done")) == 2
