"""Whether the inputs and outputs of a graph, as onnxruntime sees them, are those of the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnxruntime

from restore_hub.errors import ModelFileError
from restore_hub.model.manifest import Manifest, TensorInfo

# What `restore` feeds a file of a kind, and the channels that it takes from it.
_MOSAIC = ["mosaic", "phase", "black", "white", "balance", "gain"]
_KINDS: dict[str, tuple[list[str] | None, int]] = {
    "raw-to-rgb": (_MOSAIC, 3),
    "raw-to-raw": (_MOSAIC, 1),
    "rgb-to-rgb": (None, 3),
}
_TYPES = {"float32": "tensor(float)", "int64": "tensor(int64)"}


def check_interface(session: onnxruntime.InferenceSession, manifest: Manifest, path: Path) -> None:
    """Compare names, types, sizes, dynamic axes, and which inputs may be left out.

    Raises:
        ModelFileError: the first difference.
    """
    needed = [tensor for tensor in manifest.inputs if tensor.default is None]
    optional = [tensor for tensor in manifest.inputs if tensor.default is not None]
    for word, stated, found in (
        ("inputs", needed, session.get_inputs()),
        ("inputs with defaults", optional, session.get_overridable_initializers()),
        ("outputs", manifest.outputs, session.get_outputs()),
    ):
        wrong = _difference(word, stated, {node.name: node for node in found})
        if wrong:
            raise ModelFileError(f"{path}: {wrong}; the manifest is not of this graph; export it again")


def check_kind(manifest: Manifest) -> None:
    """Compare what a file takes and gives with what `restore` feeds a file of its kind and takes from it.

    Raises:
        ModelFileError: the first difference, without the file's name.
    """
    kind, inputs, outputs = manifest.kind, manifest.inputs, manifest.outputs
    if kind not in _KINDS:
        return
    names, channels = _KINDS[kind]
    if names is not None and [tensor.name for tensor in inputs] != names:
        raise ModelFileError(f"a {kind} file takes {', '.join(names)}; its manifest has others")
    if names is None and [tensor.shape for tensor in inputs] != [[1, 3, "height", "width"]]:
        raise ModelFileError(f"a {kind} file takes one picture of 1 x 3 x height x width; its manifest has others")
    if outputs[0].shape != [1, channels, "height", "width"]:
        raise ModelFileError(f"a {kind} file gives 1 x {channels} x height x width; its manifest says otherwise")


def _difference(word: str, stated: Sequence[TensorInfo], found: dict[str, onnxruntime.NodeArg]) -> str:
    names = [tensor.name for tensor in stated]
    if sorted(names) != sorted(found):
        return f"the {word} are {', '.join(found) or 'none'} and the manifest says {', '.join(names) or 'none'}"
    for tensor in stated:
        node = found[tensor.name]
        if node.type != _TYPES[tensor.dtype]:
            return f"{tensor.name!r} is {node.type} and the manifest says {tensor.dtype}"
        # A dynamic size has the exporter's name or none.
        sizes = [size if isinstance(size, int) else "any" for size in node.shape]
        if sizes != [size if isinstance(size, int) else "any" for size in tensor.shape]:
            return f"{tensor.name!r} is {_sizes(sizes)} and the manifest says {_sizes(tensor.shape)}"
    return ""


def _sizes(shape: Sequence[int | str]) -> str:
    return " x ".join(map(str, shape)) or "a single value"
