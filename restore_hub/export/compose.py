"""Graphs that run one after the other as one graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import inliner, version_converter

from restore_hub.errors import ExportError
from restore_hub.model.manifest import TensorInfo

_STANDARD = ("", "ai.onnx")


def compose(
    models: Sequence[onnx.ModelProto], takes: Sequence[TensorInfo], inputs: Sequence[TensorInfo], output: TensorInfo
) -> onnx.ModelProto:
    """Return the graph of several, each of which takes the first output of the one before.

    Names inside are told apart by a prefix. A later graph that takes a mosaic shares the first one's other inputs;
    inputs with a default that are not shared become constants, as they are when the graphs run by themselves.

    Args:
        models: graphs of equal operator sets, see `aligned`.
        takes: of each but the first, its input that takes what the one before gives.
        inputs: those of the first, which the whole has.
        output: that of the whole; its name is not that of an input.
    """
    whole = onnx.GraphProto(input=map(_value, inputs), output=[_value(output)])
    public = {info.name for info in inputs}
    given = ""
    for number, model in enumerate(models):
        prefix = _prefix(number, {*public, output.name})
        own = {value.name for value in model.graph.input}
        taken = takes[number - 1] if number else None
        names = {name: name for name in own & public if taken is None or taken.space == "raw"}
        if taken is not None:
            names[taken.name] = given
        given = output.name if number == len(models) - 1 else prefix + model.graph.output[0].name
        names[model.graph.output[0].name] = given
        graph = onnx.GraphProto()
        graph.CopyFrom(model.graph)
        _rename(graph, names, prefix)
        whole.initializer.extend(tensor for tensor in graph.initializer if taken is None or tensor.name not in public)
        whole.sparse_initializer.extend(graph.sparse_initializer)
        whole.node.extend(graph.node)
    version = max(model.ir_version for model in models)
    return onnx.helper.make_model(whole, opset_imports=_union(models), ir_version=version)


def aligned(models: Sequence[onnx.ModelProto], paths: Sequence[Path]) -> list[onnx.ModelProto]:
    """Return graphs of one operator set: without functions of their own, all of the highest version among them.

    Raises:
        ExportError: onnx cannot convert one, or another operator set is there in two versions.
    """
    found = [inliner.inline_local_functions(model) if model.functions else model for model in models]
    opset = max(_opset(model) for model in found)
    for place, (model, path) in enumerate(zip(found, paths, strict=True)):
        if _opset(model) == opset:
            continue
        try:
            found[place] = version_converter.convert_version(model, opset)
        except Exception as error:  # onnx's own exceptions share no base class
            reason = " ".join(str(error).split())[:200]
            raise ExportError(
                f"{path} is of opset {_opset(model)} and cannot be converted to {opset}, which another part is of: "
                f"{reason}; export both with one version of restore_hub"
            ) from error
    versions: dict[str, tuple[int, Path]] = {}
    for model, path in zip(found, paths, strict=True):
        for entry in model.opset_import:
            version, other = versions.setdefault(entry.domain, (entry.version, path))
            if version != entry.version:
                raise ExportError(
                    f"{other} and {path} need the operators {entry.domain} in versions {version} and {entry.version}, "
                    "and one file has one; export both with one version of restore_hub"
                )
    return found


def _opset(model: onnx.ModelProto) -> int:
    return max((entry.version for entry in model.opset_import if entry.domain in _STANDARD), default=1)


def _union(models: Iterable[onnx.ModelProto]) -> list[onnx.OperatorSetIdProto]:
    versions = {
        "" if entry.domain in _STANDARD else entry.domain: entry.version
        for model in models
        for entry in model.opset_import
    }
    return [onnx.helper.make_opsetid(domain, version) for domain, version in versions.items()]


def _value(info: TensorInfo) -> onnx.ValueInfoProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(info.dtype))
    return onnx.helper.make_tensor_value_info(info.name, kind, info.shape)


def _prefix(number: int, taken: Collection[str]) -> str:
    prefix = f"{number + 1}/"
    while any(name.startswith(prefix) for name in taken):
        prefix = f"_{prefix}"
    return prefix


def _rename(graph: onnx.GraphProto, names: Mapping[str, str], prefix: str) -> None:
    """Rename all values and nodes of a graph and of the graphs in it.

    Empty names stay: of a value it means that it is left out, of a node that it has none.
    """

    def renamed(name: str) -> str:
        return names.get(name, prefix + name) if name else ""

    for node in graph.node:
        node.name = node.name and prefix + node.name
        node.input[:] = map(renamed, node.input)
        node.output[:] = map(renamed, node.output)
        for attribute in node.attribute:
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                _rename(inner, names, prefix)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = renamed(value.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = renamed(sparse.values.name)
