"""Whether a graph's inputs and outputs, as onnxruntime sees them, match the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnxruntime

from restore_hub.errors import ModelFileError
from restore_hub.model.manifest import RAW_NAMES, Manifest, TensorInfo

# The channels that `restore` expects of each kind of file.
_KINDS = {"raw-to-rgb": 3, "raw-to-raw": 1, "rgb-to-rgb": 3}
_TYPES = {"float32": "tensor(float)", "int64": "tensor(int64)"}


def check_signature(session: onnxruntime.InferenceSession, manifest: Manifest, path: Path) -> None:
    """Compare names, types, sizes, dynamic axes, and which inputs are optional.

    Raises:
        ModelFileError: the first difference.
    """
    needed = [tensor for tensor in manifest.inputs if tensor.default is None]
    optional = [tensor for tensor in manifest.inputs if tensor.default is not None]
    for role, stated, found in (
        ("inputs", needed, session.get_inputs()),
        ("inputs with defaults", optional, session.get_overridable_initializers()),
        ("outputs", manifest.outputs, session.get_outputs()),
    ):
        _check(role, stated, {node.name: node for node in found}, path)


def check_kind(manifest: Manifest, path: Path) -> None:
    """Check that a file's inputs and outputs are what `restore` expects of its kind.

    Raises:
        ModelFileError: the first difference.
    """
    kind, outputs = manifest.kind, manifest.outputs
    if kind not in _KINDS:
        return
    channels, numbers = _KINDS[kind], manifest.numbers
    others = [tensor for tensor in manifest.inputs if tensor not in numbers]
    if kind.startswith("raw-") and [tensor.name for tensor in others] != list(RAW_NAMES):
        raise ModelFileError("model.wrong-inputs", path, kind=kind, expected=", ".join(RAW_NAMES))
    if kind == "rgb-to-rgb" and [tensor.shape for tensor in others] != [[1, 3, "height", "width"]]:
        raise ModelFileError("model.wrong-inputs", path, kind=kind, expected="one picture of 1 x 3 x height x width")
    if outputs[0].shape != [1, channels, "height", "width"]:
        raise ModelFileError("model.wrong-outputs", path, kind=kind, channels=channels)


def _check(role: str, stated: Sequence[TensorInfo], found: dict[str, onnxruntime.NodeArg], path: Path) -> None:
    names = [tensor.name for tensor in stated]
    if sorted(names) != sorted(found):
        graph, manifest = (", ".join(these) or "none" for these in (found, names))
        raise ModelFileError("model.other-names", path, role=role, graph=graph, manifest=manifest)
    for tensor in stated:
        node, shape = found[tensor.name], tensor.shape
        if node.type != _TYPES[tensor.dtype]:
            raise ModelFileError("model.other-type", path, name=tensor.name, graph=node.type, manifest=tensor.dtype)
        # A dynamic size has the exporter's name or none.
        sizes = [size if isinstance(size, int) else "any" for size in node.shape]
        if sizes != [size if isinstance(size, int) else "any" for size in shape]:
            raise ModelFileError(
                "model.other-shape", path, name=tensor.name, graph=_sizes(sizes), manifest=_sizes(shape)
            )


def _sizes(shape: Sequence[int | str]) -> str:
    return " x ".join(map(str, shape)) or "a single value"
