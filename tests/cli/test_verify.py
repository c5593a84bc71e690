"""`restore-hub verify`: every check has a file that fails it, and it alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import NodeProto, TensorProto, numpy_helper
from onnx.helper import (
    make_function,
    make_graph,
    make_model,
    make_node,
    make_opsetid,
    make_tensor_value_info,
    set_model_props,
)

from restore_hub.cli import group
from restore_hub.export.raw_input import RAW_INPUTS
from restore_hub.model.devices import PROVIDERS
from restore_hub.model.manifest import METADATA_KEY, Manifest, Probe, TensorInfo
from restore_hub.model.model import probe_feeds
from restore_hub.model.verify import verify

Shape = Sequence[int | str]
OPSET = 20
TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
SHAPE: dict[str, Shape] = {tensor.name: tensor.shape for tensor in RAW_INPUTS}
NODES = (make_node("Mul", ["mosaic", "gain"], ["bright"]), make_node("Concat", ["bright"] * 3, ["picture"], axis=1))
OUTPUT = TensorInfo(name="picture", shape=[1, 3, "height", "width"])


def _manifest(**changes: Any) -> Manifest:
    """Return what is true of `NODES`, with a test vector of their own result."""
    mosaic = probe_feeds(RAW_INPUTS, 3, 9, 11)["mosaic"]
    samples = [(c, y, x, float(mosaic[0, 0, y, x])) for c, y, x in ((0, 0, 0), (1, 8, 10), (2, 4, 3))]
    facts = {
        "name": "t/chain",
        "kind": "raw-to-rgb",
        "inputs": RAW_INPUTS,
        "outputs": [OUTPUT],
        "size_multiple": 1,
        "opset": OPSET,
        "parity": 0.0,
        "probe": Probe(seed=3, height=9, width=11, samples=samples, tolerance=1e-4),
        "licence": "CC0-1.0",
    }
    return Manifest(**{**facts, **changes})


def _model(
    nodes: Sequence[NodeProto] = NODES,
    *,
    shapes: dict[str, Shape] | None = None,
    output: Shape = (1, 3, "a", "b"),
    defaults: Sequence[str] = ("phase", "black", "white", "balance", "gain"),
    domains: Sequence[str] = (),
    constants: dict[str, Any] | None = None,
    phase_type: str = "int64",
) -> onnx.ModelProto:
    """Return a graph that takes a mosaic and gives it three times, times the gain."""
    dtypes = {tensor.name: tensor.dtype for tensor in RAW_INPUTS} | {"phase": phase_type}
    named = {**SHAPE, **(shapes or {})}
    inputs = [make_tensor_value_info(name, TYPES[dtypes[name]], shape) for name, shape in named.items()]
    values = {t.name: np.array(t.default, dtypes[t.name]) for t in RAW_INPUTS if t.name in defaults}
    values |= {name: np.asarray(value) for name, value in (constants or {}).items()}
    stored = [numpy_helper.from_array(value, name) for name, value in values.items()]
    outputs = [make_tensor_value_info("picture", TensorProto.FLOAT, output)]
    graph = make_graph(list(nodes), "g", inputs, outputs, stored)
    opsets = [make_opsetid("", OPSET), *(make_opsetid(domain, 1) for domain in domains)]
    return make_model(graph, opset_imports=opsets, ir_version=9)


def _save(path: Path, model: onnx.ModelProto, manifest: Manifest | str) -> Path:
    text = manifest if isinstance(manifest, str) else manifest.model_dump_json(exclude_none=True)
    set_model_props(model, {METADATA_KEY: text})
    path.write_bytes(model.SerializeToString())
    return path


def _wrong(path: Path) -> dict[str, str]:
    """Return what is wrong by check; what was not run is so because of one of them."""
    checks = verify(path)
    wrong = {check.name: check.said for check in checks if check.result == "WRONG"}
    spoilt = set(wrong)
    for check in checks:
        if check.result == "not run":
            assert check.said.removeprefix("needs ") in spoilt
            spoilt.add(check.name)
    return wrong


def test_a_sound_file_passes_every_check(tmp_path: Path) -> None:
    path = _save(tmp_path / "chain.onnx", _model(), _manifest())
    checks = verify(path)
    assert {check.result for check in checks} == {"ok"}, checks
    done = CliRunner().invoke(group, ["verify", str(path), str(path)])
    assert done.exit_code == 0, done.output
    assert done.output.count("chain.onnx: ok\n") == 2
    assert "  phases          ok      all four\n" in done.output
    assert "  sizes           ok      1x1, 1x7, 7x1, " in done.output


def test_one_bad_file_of_two_is_shown_and_ends_non_zero(tmp_path: Path) -> None:
    good = _save(tmp_path / "good.onnx", _model(), _manifest())
    bad = _save(tmp_path / "bad.onnx", _model(), _manifest(opset=17))
    done = CliRunner().invoke(group, ["verify", str(bad), str(good)])
    assert done.exit_code == 1
    assert "bad.onnx: wrong in opset\n" in done.output
    assert "  opset           WRONG   the graph is of opset 20, and the manifest says 17\n" in done.output
    assert "good.onnx: ok\n" in done.output


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content[:-100], "it was cut off or damaged: at byte "),
        (lambda _: b"", "it is empty"),
        (lambda _: b"not onnx at all", "is no ONNX file"),
        (lambda _: onnx.ModelProto(ir_version=9).SerializeToString(), "there is no graph in it"),
    ],
)
def test_file(tmp_path: Path, damage: Callable[[bytes], bytes], said: str) -> None:
    path = _save(tmp_path / "m.onnx", _model(), _manifest())
    path.write_bytes(damage(path.read_bytes()))
    wrong = _wrong(path)
    assert list(wrong) == ["file"]
    assert said in wrong["file"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert _wrong(tmp_path / "none.onnx") == {"file": f"no such model file: {tmp_path / 'none.onnx'}"}


def test_self_contained(tmp_path: Path) -> None:
    model = _model(constants={"unused": np.zeros(4, np.float32)})
    tensor = model.graph.initializer[-1]
    onnx.external_data_helper.set_external_data(tensor, "../secret.bin")
    tensor.ClearField("raw_data")
    wrong = _wrong(_save(tmp_path / "m.onnx", model, _manifest()))
    assert list(wrong) == ["self-contained"]
    assert "reads other files (../secret.bin)" in wrong["self-contained"]


def test_operators_of_onnxruntime_alone(tmp_path: Path) -> None:
    """Its own ones it has, and others may not."""
    nodes = [make_node("Gelu", ["mosaic"], ["unused"], domain="com.microsoft"), *NODES]
    wrong = _wrong(_save(tmp_path / "m.onnx", _model(nodes, domains=["com.microsoft"]), _manifest()))
    assert list(wrong) == ["operators"]
    assert "com.microsoft:Gelu" in wrong["operators"]


def test_operators_of_nobody(tmp_path: Path) -> None:
    nodes = [make_node("Glow", ["mosaic"], ["unused"], domain="acme"), *NODES]
    wrong = _wrong(_save(tmp_path / "m.onnx", _model(nodes, domains=["acme"]), _manifest()))
    assert list(wrong) == ["operators", "loads"]
    assert "acme:Glow" in wrong["operators"]


def test_operators_that_the_file_defines_are_its_own(tmp_path: Path) -> None:
    model = _model([make_node("Twice", ["mosaic"], ["unused"], domain="acme"), *NODES], domains=["acme"])
    twice = make_function(
        "acme", "Twice", ["x"], ["y"], [make_node("Add", ["x", "x"], ["y"])], [make_opsetid("", OPSET)]
    )
    model.functions.append(twice)
    assert _wrong(_save(tmp_path / "m.onnx", model, _manifest())) == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda _: "{", "the manifest is damaged at JSON"),
        (lambda text: text.replace('"opset":20', '"opset":"new"'), "damaged at opset"),
        (lambda text: text.replace('"tolerance":0.0001', '"tolerance":1e9'), "damaged at probe.tolerance"),
        (lambda text: text.replace('"height":9', '"height":1000000000'), "damaged at probe.height"),
        (lambda text: text.replace('"seed":3', '"seed":-3'), "damaged at probe.seed"),
        (lambda text: text.replace('"name":"t/chain"', f'"name":"{"x" * (1 << 24)}"'), "damaged: it has 16"),
        (lambda text: text.replace("[1,3,", "[1,3e9,"), "damaged at outputs.0.shape"),
        (lambda text: "[" * 5000 + text, "damaged at JSON"),
    ],
)
def test_manifest(tmp_path: Path, change: Callable[[str], str], said: str) -> None:
    text = _manifest().model_dump_json(exclude_none=True)
    assert change(text) != text
    wrong = _wrong(_save(tmp_path / "m.onnx", _model(), change(text)))
    assert list(wrong) == ["manifest"]
    assert said in wrong["manifest"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "rgb-to-rgb"}, "takes one picture of 1 x 3"),
        ({"kind": "raw-to-raw"}, "gives 1 x 1 x height x width"),
    ],
)
def test_kind(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    wrong = _wrong(_save(tmp_path / "m.onnx", _model(), _manifest(**changes)))
    assert list(wrong) == ["kind"]
    assert said in wrong["kind"]


def test_kind_of_a_mosaic_needs_its_levels(tmp_path: Path) -> None:
    shapes = {name: shape for name, shape in SHAPE.items() if name != "black"}
    model = _model(defaults=("phase", "white", "balance", "gain"))
    del model.graph.input[[value.name for value in model.graph.input].index("black")]
    inputs = [tensor for tensor in RAW_INPUTS if tensor.name in shapes]
    wrong = _wrong(_save(tmp_path / "m.onnx", model, _manifest(inputs=inputs)))
    assert list(wrong) == ["kind"]
    assert "takes mosaic, phase, black, white" in wrong["kind"]


def test_opset(tmp_path: Path) -> None:
    wrong = _wrong(_save(tmp_path / "m.onnx", _model(), _manifest(opset=17)))
    assert wrong == {"opset": "the graph is of opset 20, and the manifest says 17"}


def test_loads(tmp_path: Path) -> None:
    """A graph whose parts do not fit together, which only onnxruntime sees."""
    wrong = _wrong(_save(tmp_path / "m.onnx", _model([make_node("Relu", ["nothing"], ["picture"])]), _manifest()))
    assert list(wrong) == ["loads"]
    assert "onnxruntime cannot load" in wrong["loads"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"defaults": ("phase", "black", "white", "balance")}, "inputs are mosaic, gain and the manifest says mosaic"),
        ({"shapes": {"mosaic": [1, 1, 24, "b"]}}, "'mosaic' is 1 x 1 x 24 x any and the manifest says"),
        ({"shapes": {"mosaic": [1, "b", "c"]}}, "'mosaic' is 1 x any x any and the manifest says"),
        ({"output": (1, 4, "a", "b"), "nodes": [NODES[0], make_node("Concat", ["bright"] * 4, ["picture"], axis=1)]},
         "'picture' is 1 x 4 x any x any and the manifest says 1 x 3 x height x width"),
        ({"phase_type": "float32"}, "'phase' is tensor(float) and the manifest says int64"),
    ],
)  # fmt: skip
def test_interface(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    wrong = _wrong(_save(tmp_path / "m.onnx", _model(**changes), _manifest()))
    assert list(wrong) == ["interface"]
    assert said in wrong["interface"]


def test_interface_has_the_outputs_of_the_manifest(tmp_path: Path) -> None:
    manifest = _manifest(outputs=[OUTPUT.model_copy(update={"name": "image"})])
    wrong = _wrong(_save(tmp_path / "m.onnx", _model(), manifest))
    assert list(wrong) == ["interface"]
    assert "the outputs are picture and the manifest says image" in wrong["interface"]


def test_test_vector(tmp_path: Path) -> None:
    nodes = [
        make_node("Mul", ["mosaic", "factor"], ["darker"]),
        make_node("Mul", ["darker", "gain"], ["bright"]),
        NODES[1],
    ]
    model = _model(nodes, constants={"factor": np.float32(0.999)})
    wrong = _wrong(_save(tmp_path / "m.onnx", model, _manifest()))
    assert list(wrong) == ["test vector"]
    assert "gives values that differ by" in wrong["test vector"]


def test_test_vector_with_one_value_that_is_no_number(tmp_path: Path) -> None:
    """The largest of several differences, of which one cannot be compared, must not be one of the others."""
    probe = _manifest().probe
    first, second, third = probe.samples
    spoilt = probe.model_copy(update={"samples": [first, (*second[:3], float("nan")), third]})
    text = _manifest(probe=spoilt).model_dump_json(exclude_none=True).replace("null", "NaN")
    assert "NaN" in text
    assert list(_wrong(_save(tmp_path / "m.onnx", _model(), text))) == ["test vector"]


def test_test_vector_outside_of_the_output(tmp_path: Path) -> None:
    probe = _manifest().probe.model_copy(update={"samples": [(7, 0, 0, 0.5)]})
    wrong = _wrong(_save(tmp_path / "m.onnx", _model(), _manifest(probe=probe)))
    assert wrong == {"test vector": "the test vector has values outside of the output; export it again"}


@pytest.mark.parametrize(
    ("name", "default", "said"),
    [("gain", [2.0], "change the result by"), ("black", [0.0] * 3, "does not fit its input")],
)
def test_defaults(tmp_path: Path, name: str, default: list[float], said: str) -> None:
    inputs = [t.model_copy(update={"default": default}) if t.name == name else t for t in RAW_INPUTS]
    wrong = _wrong(_save(tmp_path / "m.onnx", _model(), _manifest(inputs=inputs)))
    assert list(wrong) == ["defaults"]
    assert said in wrong["defaults"]


def test_sizes_that_fail(tmp_path: Path) -> None:
    """A mirrored border of two pixels is more than a picture of one or two pixels has."""
    nodes = [
        make_node("Pad", ["mosaic", "border"], ["wide"], mode="reflect"),
        make_node("Pad", ["wide", "back"], ["same"]),
        make_node("Mul", ["same", "gain"], ["bright"]),
        NODES[1],
    ]
    border = np.array([0, 0, 2, 2, 0, 0, 2, 2])
    wrong = _wrong(
        _save(tmp_path / "m.onnx", _model(nodes, constants={"border": border, "back": -border}), _manifest())
    )
    assert list(wrong) == ["sizes"]
    assert wrong["sizes"].startswith("at 1x1: failed to run: ")


def test_sizes_that_come_out_wrong(tmp_path: Path) -> None:
    """What pads a picture to an even size, and does not cut it back, is right at some sizes."""
    nodes = [
        NODES[0],
        make_node("Shape", ["mosaic"], ["rows"], start=2, end=3),
        make_node("Mod", ["rows", "two"], ["odd"]),
        make_node("Concat", ["zeros", "odd", "zero"], ["border"], axis=0),
        make_node("Pad", ["bright", "border"], ["even"]),
        make_node("Concat", ["even"] * 3, ["picture"], axis=1),
    ]
    zero = np.zeros(1, np.int64)
    constants = {"two": np.array([2]), "zero": zero, "zeros": np.zeros(6, np.int64)}
    wrong = _wrong(_save(tmp_path / "m.onnx", _model(nodes, constants=constants), _manifest()))
    assert wrong["sizes"] == "at 1x1 it gives (1, 3, 2, 1), and should give (1, 3, 1, 1)"
    assert list(wrong) == ["sizes", "phases"]


def test_phases(tmp_path: Path) -> None:
    nodes = [make_node("Gather", ["one", "phase"], ["ones"]), make_node("ReduceMax", ["ones"], ["factor"], keepdims=0),
             make_node("Mul", ["mosaic", "factor"], ["same"]), make_node("Mul", ["same", "gain"], ["bright"]),
             NODES[1]]  # fmt: skip
    wrong = _wrong(_save(tmp_path / "m.onnx", _model(nodes, constants={"one": np.ones(1, np.float32)}), _manifest()))
    assert list(wrong) == ["phases"]
    assert wrong["phases"].startswith("with red at (0, 1): failed to run")


def test_finite(tmp_path: Path) -> None:
    """A division that is 0 / 0 where the picture has one row."""
    nodes = [
        make_node("Shape", ["mosaic"], ["rows"], start=2, end=3),
        make_node("Sub", ["rows", "one"], ["count"]),
        make_node("Cast", ["count"], ["number"], to=TensorProto.FLOAT),
        make_node("Mul", ["mosaic", "number"], ["sum"]),
        make_node("Div", ["sum", "number"], ["mean"]),
        make_node("Mul", ["mean", "gain"], ["bright"]),
        NODES[1],
    ]
    wrong = _wrong(_save(tmp_path / "m.onnx", _model(nodes, constants={"one": np.array([1])}), _manifest()))
    assert wrong == {"finite": "values that are not finite at 1x1"}


def test_a_device_that_is_not_there_is_an_error_before_any_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "restore_hub", "verify", "none.onnx", "--device", "directml"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "onnxruntime has no DmlExecutionProvider here; it comes with onnxruntime-directml" in done.stderr


def test_it_imports_neither_torch_nor_onnx(tmp_path: Path) -> None:
    path = _save(tmp_path / "m.onnx", _model(), _manifest())
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'mlflow', 'google.protobuf']));"
        f"from restore_hub.cli import main; main(['verify', {str(path)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_the_guide_names_every_check_and_device() -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs" / "verify.md").read_text(encoding="utf-8")
    checks = [check.name for check in verify("none.onnx")]
    assert [line.split(" | ")[0].removeprefix("| ") for line in guide.splitlines() if line.startswith("| ")][
        2:15
    ] == checks
    for device, provider in PROVIDERS.items():
        assert f"`{device}`" in guide
        assert provider in guide
