"""What is read from the bytes of an ONNX file, against the package onnx; and `load`, which trusts nothing before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, numpy_helper
from onnx.helper import (
    make_function,
    make_graph,
    make_model,
    make_node,
    make_opsetid,
    make_sparse_tensor,
    make_tensor_value_info,
    set_model_props,
)

from restore_hub.model.protobuf import encode
from restore_hub.model.scan import INSIDE, read_onnx, refuse_external
from restore_hub.model.sequence import load
from support import refused

EMPTY = make_graph([], "g", [], [])


def _outside(name: str, location: str = "../secret.bin") -> onnx.TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("length", "4")):
        tensor.external_data.add(key=key, value=value)
    return tensor


INSIDE_VALUE = numpy_helper.from_array(np.zeros(1, np.float32), "a")


def _attribute(**value: Any) -> onnx.NodeProto:
    node = make_node("Acme", [], ["y"])
    node.attribute.append(AttributeProto(name="value", **value))
    return node


def _graph(*nodes: onnx.NodeProto, tensors: Any = (), sparse: Any = None) -> onnx.GraphProto:
    return make_graph(nodes, "g", [], [], tensors, sparse_initializer=sparse)


def _with(graph: onnx.GraphProto, **more: Any) -> onnx.ModelProto:
    model = make_model(graph, opset_imports=[make_opsetid("", 20)], ir_version=9)
    for name, value in more.items():
        getattr(model, name).append(value)
    return model


OUT = _outside("w")
SPARSE = [make_sparse_tensor(OUT, INSIDE_VALUE, [1]), make_sparse_tensor(INSIDE_VALUE, OUT, [1])]
OUTER = _graph(tensors=[OUT])
DEFAULT = AttributeProto(name="a", type=AttributeProto.TENSOR, t=OUT)
HIDDEN = [  # a file for each place where a tensor can lie
    _with(_graph(tensors=[INSIDE_VALUE, OUT])),
    _with(_graph(_attribute(t=OUT))),
    _with(_graph(_attribute(tensors=[INSIDE_VALUE, OUT]))),
    _with(_graph(_attribute(g=_graph(_attribute(t=OUT))))),
    _with(_graph(_attribute(graphs=[EMPTY, OUTER]))),
    _with(_graph(_attribute(sparse_tensor=SPARSE[0]))),
    _with(_graph(_attribute(sparse_tensors=[SPARSE[1]]))),
    _with(_graph(sparse=[SPARSE[0]])),
    _with(EMPTY, functions=make_function("acme", "F", [], ["y"], [_attribute(t=OUT)], [])),
    _with(EMPTY, functions=make_function("acme", "F", [], [], [], [], attribute_protos=[DEFAULT])),
    _with(EMPTY, training_info=onnx.TrainingInfoProto(algorithm=OUTER)),
    _with(EMPTY, training_info=onnx.TrainingInfoProto(initialization=OUTER)),
]


@pytest.mark.parametrize("model", HIDDEN)
def test_values_in_another_file_are_found_wherever_they_hide(tmp_path: Path, model: onnx.ModelProto) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    assert read_onnx(path).external == {"../secret.bin"}
    with refused("model.external-data", path, files="../secret.bin"):
        load(path)


def test_every_field_of_onnx_that_matters_is_followed() -> None:
    wanted = {"TensorProto", "NodeProto"}
    names = {"ModelProto": "Model", "StringStringEntryProto": "Metadata"}

    def leads(message: Any, seen: frozenset[str] = frozenset()) -> bool:
        inner = [field.message_type for field in message.fields if field.message_type]
        return any(m.name in wanted or (m.name not in seen and leads(m, seen | {m.name})) for m in inner)

    followed: dict[str, dict[int, str]] = {}
    left = [onnx.ModelProto.DESCRIPTOR]
    while left:
        message = left.pop()
        name = names.get(message.name, message.name.removesuffix("Proto"))
        if name in followed:
            continue
        followed[name] = {}
        for part in message.fields:
            if part.message_type and (part.message_type.name in wanted or leads(part.message_type)):
                followed[name][part.number] = part.message_type.name.removesuffix("Proto")
                left.append(part.message_type)
    texts = {8: "OperatorSetId", 14: "Metadata"}
    assert followed["Model"] | texts == INSIDE["Model"]
    for name in followed.keys() - {"Model"}:
        assert followed[name] == INSIDE.get(name, {})
    fields = onnx.TensorProto.DESCRIPTOR.fields_by_name
    assert (fields["external_data"].number, fields["data_location"].number) == (13, 14)


def test_only_the_low_half_of_an_enumeration_counts(tmp_path: Path) -> None:
    """An enumeration has 32 bits: 2^32 + 1 is 1, EXTERNAL."""
    entry = encode((1, "location"), (2, "/etc/hostname"))
    tensor = encode((1, 1), (2, 1), (8, "w"), (13, entry), (14, (1 << 32) + 1))
    content = encode((1, 9), (7, encode((2, "g"), (5, tensor))), (8, encode((2, 20))))
    assert onnx.load_from_string(content).graph.initializer[0].data_location == TensorProto.EXTERNAL
    (tmp_path / "m.onnx").write_bytes(content)
    assert read_onnx(tmp_path / "m.onnx").external == {"/etc/hostname"}


def test_a_compiled_part_in_another_file_is_external_data(tmp_path: Path) -> None:
    model = _with(_graph(make_node("EPContext", [], ["y"], domain="com.microsoft", ep_cache_context="../x")))
    onnx.save(model, tmp_path / "m.onnx")
    with refused("model.external-data", "m.onnx"):
        refuse_external(read_onnx(tmp_path / "m.onnx"), tmp_path / "m.onnx")


def test_facts_are_those_that_onnx_wrote(tmp_path: Path) -> None:
    branch = _graph(make_node("Deep", [], ["y"], domain="acme"))
    function = make_function("own", "F", ["x"], ["y"], [make_node("Abs", ["x"], ["y"])], [make_opsetid("", 20)])
    node = make_node("If", ["c"], ["z"], then_branch=branch, else_branch=EMPTY)
    model = _with(_graph(node), functions=function)
    model.opset_import.append(make_opsetid("acme", 3))
    set_model_props(model, {"empty": "", "schön": "ja"})
    onnx.save(model, tmp_path / "m.onnx")
    facts = read_onnx(tmp_path / "m.onnx")
    assert facts.size == model.ByteSize()
    assert facts.opsets == {"ai.onnx": 20, "acme": 3}
    assert facts.operators == {("ai.onnx", "If"), ("acme", "Deep"), ("ai.onnx", "Abs")}
    assert facts.functions == {("own", "F")}
    assert facts.metadata == {"empty": "", "schön": "ja"}
    assert (facts.nodes, facts.external) == (3, set())


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_file_cut_off_never_reaches_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    zeros = numpy_helper.from_array(np.zeros(99, np.float32), "w")
    content = _with(_graph(tensors=[zeros])).SerializeToString()
    (tmp_path / "m.onnx").write_bytes(content[:-cut])
    monkeypatch.setattr("onnxruntime.InferenceSession", None)
    with refused("model.damaged", "m.onnx"):
        load(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"\x3a" + b"\xff" * 9 + b"\x01", "18446744073709551615 bytes"),
        (b"\x3a" + b"\xff" * 20, "no number at byte 1"),
        (b"\x3a\x80", "inside a number at byte 1"),
        (b"\x3b\x00", "no field at byte 0"),
        (b"\x00\x00", "no field at byte 0"),
        (encode((14, encode((1, b"\xff"), (2, "x"))), (7, b"")), "invalid start byte"),
        (encode((1, 9)), "no graph"),
    ],
)
def test_damaged_headers(tmp_path: Path, content: bytes, cause: str) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with refused("model.damaged", "m.onnx") as caught:
        load(tmp_path / "m.onnx")
    assert cause in caught.value.facts["cause"]


def test_nesting_has_a_limit(tmp_path: Path) -> None:
    graph = b""
    for _ in range(5000):
        graph = encode((1, encode((5, encode((6, graph))))))
    (tmp_path / "m.onnx").write_bytes(encode((7, graph)))
    with refused("model.damaged", "m.onnx") as caught:
        load(tmp_path / "m.onnx")
    assert "100 deep" in caught.value.facts["cause"]


def test_names_without_a_readable_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    codes = {"": "not-a-file", "pipe": "not-a-file", "none": "missing", "empty": "empty", "x" * 300: "unreadable"}
    for name, code in codes.items():
        with refused(f"model.{code}", tmp_path / name):
            load(tmp_path / name)


def test_load_refuses_a_manifest_of_another_graph(tmp_path: Path) -> None:
    """Whole and sound each for itself: only together they make no sense."""
    ends = [[make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, "h", "w"])] for name in ("image", "y")]
    model = _with(make_graph([make_node("Relu", ["image"], ["y"])], "g", *ends))
    tensor = '{"name": "NAME", "shape": [1, 3, "height", "width"]}'
    text = (
        '{"name": "t", "kind": "rgb-to-rgb", "size_multiple": 1, "opset": 20, "parity": 0, "licence": "", "probe": '
        '{"seed": 0, "height": 2, "width": 2, "samples": [[0, 0, 0, 0.5]], "tolerance": 1e-4}, '
        f'"inputs": [{tensor}], "outputs": [{tensor.replace("NAME", "y")}]}}'
    )
    set_model_props(model, {"restore_hub.manifest": text.replace("NAME", "rgb")})
    onnx.save(model, tmp_path / "m.onnx")
    with refused("model.other-names", role="inputs", graph="image", manifest="rgb"):
        load(tmp_path / "m.onnx")
    set_model_props(model, {"restore_hub.manifest": text.replace("NAME", "image")})
    onnx.save(model, tmp_path / "m.onnx")
    assert load(tmp_path / "m.onnx").manifest.outputs[0].name == "y"
