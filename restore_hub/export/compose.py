"""Several graphs that run one after the other, as one graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import inliner, version_converter

from restore_hub.errors import ExportError, reason_of
from restore_hub.model.manifest import TensorInfo

_STANDARD = ("", "ai.onnx")


def compose(
    models: Sequence[onnx.ModelProto],
    takes: Sequence[TensorInfo],
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    shared: Sequence[Collection[str]],
) -> onnx.ModelProto:
    """Return one graph that runs several, each on the first output of the one before.

    A prefix keeps their inner names apart. Inputs with a default that aren't shared become constants, as they are when
    the graphs run alone.

    Args:
        models: graphs of equal operator sets, see `in_one_opset`.
        takes: for each graph but the first, the input that takes what the one before gives.
        inputs: those of the whole.
        outputs: those of the whole, which are the last graph's under names that no input has.
        shared: for each graph, the names of its inputs that are inputs of the whole.
    """
    whole = onnx.GraphProto(input=map(_value, inputs), output=map(_value, outputs))
    public = {info.name for info in (*inputs, *outputs)}
    given, seen = "", set[str]()
    for number, model in enumerate(models):
        prefix = _prefix(number, public)
        names = {name: name for name in shared[number]}
        if number:
            names[takes[number - 1].name] = given
        given = prefix + model.graph.output[0].name
        if number == len(models) - 1:
            names.update({made.name: info.name for made, info in zip(model.graph.output, outputs, strict=True)})
        graph = onnx.GraphProto()
        graph.CopyFrom(model.graph)
        _rename(graph, names, prefix)
        whole.initializer.extend(tensor for tensor in graph.initializer if tensor.name not in seen)
        seen.update(shared[number])
        whole.sparse_initializer.extend(graph.sparse_initializer)
        whole.node.extend(graph.node)
    version = max(model.ir_version for model in models)
    return onnx.helper.make_model(whole, opset_imports=_union(models), ir_version=version)


def in_one_opset(models: Sequence[onnx.ModelProto], paths: Sequence[Path]) -> list[onnx.ModelProto]:
    """Return the graphs without functions of their own, all in the highest opset among them.

    Raises:
        ExportError: onnx can't convert one, or two need another operator set in different versions.
    """
    found = [inliner.inline_local_functions(model) if model.functions else model for model in models]
    opset = max(_opset(model) for model in found)
    for place, (model, path) in enumerate(zip(found, paths, strict=True)):
        if _opset(model) == opset:
            continue
        try:
            found[place] = version_converter.convert_version(model, opset)
        except Exception as error:  # onnx's own exceptions share no base class
            raise ExportError(
                "export.opset-conversion", path, opset=_opset(model), target=opset, cause=reason_of(error)
            ) from error
    versions: dict[str, tuple[int, Path]] = {}
    for model, path in zip(found, paths, strict=True):
        for entry in model.opset_import:
            version, other = versions.setdefault(entry.domain, (entry.version, path))
            if version != entry.version:
                raise ExportError(
                    "export.opsets-differ",
                    path,
                    domain=entry.domain,
                    version=entry.version,
                    other=other,
                    other_version=version,
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

    Empty names stay: an input with an empty name is left out, a node may have no name.
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
