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

from restore_hub.errors import ModelFileError
from restore_hub.export.raw_input import RAW_INPUTS
from restore_hub.model.devices import PROVIDERS
from restore_hub.model.manifest import METADATA_KEY, Manifest, Probe, TensorInfo
from restore_hub.model.model import probe_feeds
from restore_hub.model.verify import verify
from support import DOCS
from support.commands import end, output

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
    facts = {"name": "t/chain", "kind": "raw-to-rgb", "inputs": RAW_INPUTS, "outputs": [OUTPUT], "size_multiple": 1}
    facts |= {"opset": OPSET, "parity": 0.0, "licence": "CC0-1.0"}
    facts |= {"probe": Probe(seed=3, height=9, width=11, samples=samples, tolerance=1e-4)}
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


def _errors(path: Path) -> dict[str, ModelFileError]:
    """Return the errors by check; checks that weren't run depend on one of them."""
    checks = verify(path)
    errors = {check.name: check.error for check in checks if check.error}
    failed = set(errors)
    for check in checks:
        if check.result == "not run":
            assert check.finding.removeprefix("needs ") in failed
            failed.add(check.name)
    return errors


def _codes(path: Path) -> dict[str, str]:
    return {name: error.code for name, error in _errors(path).items()}


def test_a_sound_file_passes_every_check(tmp_path: Path) -> None:
    path = _save(tmp_path / "chain.onnx", _model(), _manifest())
    checks = verify(path)
    assert {check.result for check in checks} == {"ok"}, checks
    shown = output("verify", path, path)
    assert shown.count("chain.onnx: ok\n") == 2
    assert "  phases          ok      all four\n" in shown
    assert "  sizes           ok      1x1, 1x7, 7x1, " in shown


def test_one_bad_file_of_two_is_shown_and_ends_non_zero(tmp_path: Path) -> None:
    good = _save(tmp_path / "good.onnx", _model(), _manifest())
    bad = _save(tmp_path / "bad.onnx", _model(), _manifest(opset=17))
    shown = output("verify", bad, good, exit_code=1)
    assert "bad.onnx: wrong in opset\n" in shown
    assert f"  opset           WRONG   {_errors(bad)['opset'].what}; " in shown
    assert "good.onnx: ok\n" in shown


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda content: content[:-100], "model.damaged"),
        (lambda _: b"", "model.empty"),
        (lambda _: b"not onnx at all", "model.damaged"),
        (lambda _: onnx.ModelProto(ir_version=9).SerializeToString(), "model.damaged"),
        (None, "model.missing"),
    ],
)
def test_file(tmp_path: Path, damage: Callable[[bytes], bytes] | None, code: str) -> None:
    path = _save(tmp_path / "m.onnx", _model(), _manifest())
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    assert _codes(path) == {"file": code}


def test_self_contained(tmp_path: Path) -> None:
    model = _model(constants={"unused": np.zeros(4, np.float32)})
    tensor = model.graph.initializer[-1]
    onnx.external_data_helper.set_external_data(tensor, "../secret.bin")
    tensor.ClearField("raw_data")
    assert _codes(_save(tmp_path / "m.onnx", model, _manifest())) == {"self-contained": "model.external-data"}


@pytest.mark.parametrize(
    ("domain", "name", "codes"),
    [  # onnxruntime's own, which others may lack, and somebody's
        ("com.microsoft", "Gelu", {"operators": "verify.foreign-operators"}),
        ("acme", "Glow", {"operators": "verify.foreign-operators", "loads": "model.not-loaded"}),
    ],
)
def test_operators_outside_onnx(tmp_path: Path, domain: str, name: str, codes: dict[str, str]) -> None:
    nodes = [make_node(name, ["mosaic"], ["unused"], domain=domain), *NODES]
    path = _save(tmp_path / "m.onnx", _model(nodes, domains=[domain]), _manifest())
    assert _codes(path) == codes
    assert _errors(path)["operators"].facts["operators"] == f"{domain}:{name}"


def test_operators_that_the_file_defines_are_its_own(tmp_path: Path) -> None:
    model = _model([make_node("Twice", ["mosaic"], ["unused"], domain="acme"), *NODES], domains=["acme"])
    add = make_node("Add", ["x", "x"], ["y"])
    model.functions.append(make_function("acme", "Twice", ["x"], ["y"], [add], [make_opsetid("", OPSET)]))
    assert _codes(_save(tmp_path / "m.onnx", model, _manifest())) == {}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda _: "{", "JSON"),
        (lambda text: text.replace('"opset":20', '"opset":"new"'), "opset"),
        (lambda text: text.replace('"tolerance":0.0001', '"tolerance":1e9'), "probe.tolerance"),
        (lambda text: text.replace('"height":9', '"height":1000000000'), "probe.height"),
        (lambda text: text.replace('"seed":3', '"seed":-3'), "probe.seed"),
        (lambda text: text.replace('"name":"t/chain"', f'"name":"{"x" * (1 << 24)}"'), "JSON"),
        (lambda text: text.replace("[1,3,", "[1,3e9,"), "outputs.0.shape"),
        (lambda text: "[" * 5000 + text, "JSON"),
    ],
)
def test_manifest(tmp_path: Path, change: Callable[[str], str], where: str) -> None:
    text = _manifest().model_dump_json(exclude_none=True)
    assert change(text) != text
    errors = _errors(_save(tmp_path / "m.onnx", _model(), change(text)))
    assert {name: error.code for name, error in errors.items()} == {"manifest": "model.damaged-manifest"}
    assert errors["manifest"].facts["where"].startswith(where)


def _renamed(name: str, **changes: Any) -> list[TensorInfo]:
    return [tensor.model_copy(update=changes) if tensor.name == name else tensor for tensor in RAW_INPUTS]


FOUR = {"output": (1, 4, "a", "b"), "nodes": [NODES[0], make_node("Concat", ["bright"] * 4, ["picture"], axis=1)]}
OUTSIDE = Probe(seed=3, height=9, width=11, samples=[(7, 0, 0, 0.5)], tolerance=1e-4)
DIM = [make_node("Mul", ["mosaic", "factor"], ["dark"]), make_node("Mul", ["dark", "gain"], ["bright"]), NODES[1]]


@pytest.mark.parametrize(
    ("model", "manifest", "check", "code", "facts"),
    [
        ({}, {"kind": "rgb-to-rgb"}, "kind", "model.wrong-inputs", {}),
        ({}, {"kind": "raw-to-raw"}, "kind", "model.wrong-outputs", {"channels": 1}),
        ({}, {"opset": 17}, "opset", "verify.opset-differs", {"graph": 20, "manifest": 17}),
        # Parts that don't fit together, which only onnxruntime sees.
        ({"nodes": [make_node("Relu", ["nothing"], ["picture"])]}, {}, "loads", "model.not-loaded", {}),
        ({"defaults": ("phase", "black", "white", "balance")}, {}, "interface", "model.other-names",
         {"role": "inputs", "graph": "mosaic, gain", "manifest": "mosaic"}),
        ({"shapes": {"mosaic": [1, 1, 24, "b"]}}, {}, "interface", "model.other-shape",
         {"name": "mosaic", "graph": "1 x 1 x 24 x any"}),
        ({"shapes": {"mosaic": [1, "b", "c"]}}, {}, "interface", "model.other-shape", {"graph": "1 x any x any"}),
        (FOUR, {}, "interface", "model.other-shape",
         {"name": "picture", "graph": "1 x 4 x any x any", "manifest": "1 x 3 x height x width"}),
        ({"phase_type": "float32"}, {}, "interface", "model.other-type", {"name": "phase", "manifest": "int64"}),
        ({}, {"outputs": [OUTPUT.model_copy(update={"name": "image"})]}, "interface", "model.other-names",
         {"role": "outputs", "graph": "picture", "manifest": "image"}),
        ({"nodes": DIM, "constants": {"factor": np.float32(0.999)}}, {}, "test vector", "model.test-vector-differs",
         {}),
        ({}, {"probe": OUTSIDE}, "test vector", "model.bad-test-vector", {}),
        ({}, {"inputs": _renamed("gain", default=[2.0])}, "defaults", "verify.defaults-differ", {}),
        ({}, {"inputs": _renamed("black", default=[0.0] * 3)}, "defaults", "verify.bad-default", {}),
    ],
)  # fmt: skip
def test_graph_and_manifest(
    tmp_path: Path, model: dict[str, Any], manifest: dict[str, Any], check: str, code: str, facts: dict[str, Any]
) -> None:
    errors = _errors(_save(tmp_path / "m.onnx", _model(**model), _manifest(**manifest)))
    assert {name: error.code for name, error in errors.items()} == {check: code}
    assert facts.items() <= errors[check].facts.items()


def test_a_mosaic_needs_its_levels(tmp_path: Path) -> None:
    model = _model(defaults=("phase", "white", "balance", "gain"))
    del model.graph.input[[value.name for value in model.graph.input].index("black")]
    inputs = [tensor for tensor in RAW_INPUTS if tensor.name != "black"]
    assert _codes(_save(tmp_path / "m.onnx", model, _manifest(inputs=inputs))) == {"kind": "model.wrong-inputs"}


def test_test_vector_with_one_value_that_is_not_a_number(tmp_path: Path) -> None:
    """The largest of several differences must not be one of the others if one can't be compared."""
    probe = _manifest().probe
    first, second, third = probe.samples
    spoilt = probe.model_copy(update={"samples": [first, (*second[:3], float("nan")), third]})
    text = _manifest(probe=spoilt).model_dump_json(exclude_none=True).replace("null", "NaN")
    assert "NaN" in text
    assert list(_codes(_save(tmp_path / "m.onnx", _model(), text))) == ["test vector"]


BORDER = np.array([0, 0, 2, 2, 0, 0, 2, 2])
RUNS = {
    "a mirrored border of two pixels fails if the picture has one or two": (
        [
            make_node("Pad", ["mosaic", "border"], ["wide"], mode="reflect"),
            make_node("Pad", ["wide", "back"], ["same"]),
            make_node("Mul", ["same", "gain"], ["bright"]),
            NODES[1],
        ],
        {"border": BORDER, "back": -BORDER},
        {"sizes": ("model.run-failed", "at 1x1")},
    ),
    "padding to an even size that isn't cut back is wrong at some sizes": (
        [
            NODES[0],
            make_node("Shape", ["mosaic"], ["rows"], start=2, end=3),
            make_node("Mod", ["rows", "two"], ["odd"]),
            make_node("Concat", ["zeros", "odd", "zero"], ["border"], axis=0),
            make_node("Pad", ["bright", "border"], ["even"]),
            make_node("Concat", ["even"] * 3, ["picture"], axis=1),
        ],
        {"two": np.array([2]), "zero": np.zeros(1, np.int64), "zeros": np.zeros(6, np.int64)},
        {"sizes": ("verify.wrong-size", "at 1x1"), "phases": ("verify.wrong-size", "with red at (0, 0)")},
    ),
    "an index that is in range for one phase only": (
        [
            make_node("Gather", ["one", "phase"], ["ones"]),
            make_node("ReduceMax", ["ones"], ["factor"], keepdims=0),
            make_node("Mul", ["mosaic", "factor"], ["same"]),
            make_node("Mul", ["same", "gain"], ["bright"]),
            NODES[1],
        ],
        {"one": np.ones(1, np.float32)},
        {"phases": ("model.run-failed", "with red at (0, 1)")},
    ),
    "0 / 0 if the picture has one row": (
        [
            make_node("Shape", ["mosaic"], ["rows"], start=2, end=3),
            make_node("Sub", ["rows", "one"], ["count"]),
            make_node("Cast", ["count"], ["number"], to=TensorProto.FLOAT),
            make_node("Mul", ["mosaic", "number"], ["sum"]),
            make_node("Div", ["sum", "number"], ["mean"]),
            make_node("Mul", ["mean", "gain"], ["bright"]),
            NODES[1],
        ],
        {"one": np.array([1])},
        {"finite": ("verify.not-finite", "at 1x1")},
    ),
}


@pytest.mark.parametrize("case", RUNS)
def test_runs_at_sizes_and_phases(tmp_path: Path, case: str) -> None:
    nodes, constants, expected = RUNS[case]
    errors = _errors(_save(tmp_path / "m.onnx", _model(nodes, constants=constants), _manifest()))
    found = {name: (error.code, error.place.partition(": ")[0]) for name, error in errors.items()}
    assert found == expected


def test_a_missing_device_is_an_error_before_any_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = end(capsys, "verify", tmp_path / "none.onnx", "--device", "directml")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "DmlExecutionProvider" in err
    assert "onnxruntime-directml" in err


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
    guide = (DOCS / "how-to" / "verify.md").read_text(encoding="utf-8")
    checks = [check.name for check in verify("none.onnx")]
    assert [line.split(" | ")[0].removeprefix("| ") for line in guide.splitlines() if line.startswith("| ")][
        2:15
    ] == checks
    for device, provider in PROVIDERS.items():
        assert f"`{device}`" in guide
        assert provider in guide
