"""A module as one self-describing ONNX file, published only when onnxruntime gives what PyTorch gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore_hub.export.deploy import Deployed
from restore_hub.export.gate import Reference, make_probe, opset_of, publish
from restore_hub.export.tiling import find_tiling
from restore_hub.export.trace import trace
from restore_hub.model.manifest import Manifest
from restore_hub.model.model import probe_feeds

EXAMPLE_SIZE = (66, 98)  # even, unequal, no multiple of common strides: nothing may be specialised to it
EXAMPLE_DEPTH = 10  # of volumes


def export_onnx(
    module: Deployed,
    path: Path,
    *,
    name: str,
    licence: str | None,
    metrics: Mapping[str, float],
    provenance: Mapping[str, Any],
) -> Manifest:
    """Export a module, check it in onnxruntime at several sizes and all CFA phases, then write the file.

    Args:
        module: what to export, in evaluation mode on the CPU.
        path: where the file goes; it appears there only when it passed.
        name, licence, metrics, provenance: for the manifest.

    Raises:
        ExportError: torch can't export it, a block fails at some size, the file can't be written, or it differs from
            PyTorch by more than 1e-4.
    """
    module = module.eval()
    model = _traced(module)
    _add_defaults(model, module)
    manifest = Manifest(
        name=name,
        kind=module.kind,
        inputs=module.inputs,
        outputs=module.outputs,
        size_multiple=module.size_multiple,
        opset=opset_of(model),
        parity=0.0,
        probe=make_probe(module.inputs, _reference(module)),
        licence=licence or "not stated",
        metrics=dict(metrics),
        provenance={**provenance, "parameters": module.learnt},
    )
    return publish(model, manifest, path, _reference(module), "PyTorch", lambda exported: find_tiling(module, exported))


def _traced(module: Deployed) -> onnx.ModelProto:
    example = _tensors(module, probe_feeds(module.inputs, 0, *EXAMPLE_SIZE, depth=EXAMPLE_DEPTH))
    sizes = {axis: torch.export.Dim(axis, min=1) for axis in ("depth", "height", "width")}
    dynamic = [{i: sizes[axis] for i, axis in enumerate(info.shape) if axis in sizes} or None for info in module.inputs]
    names = [[info.name for info in side] for side in (module.inputs, module.outputs)]
    return trace(module, example, dynamic, *names)


def _add_defaults(model: onnx.ModelProto, module: Deployed) -> None:
    """Make every input with a default an initializer too, so that a caller may leave it out."""
    for info in module.inputs:
        if info.default is not None:
            values = np.array(info.default, dtype=info.dtype).reshape([int(size) for size in info.shape])
            model.graph.initializer.append(onnx.numpy_helper.from_array(values, info.name))


def _reference(module: Deployed) -> Reference:
    def run(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {name: tensor.numpy() for name, tensor in module.run(_tensors(module, feeds)).items()}

    return run


def _tensors(module: Deployed, feeds: Mapping[str, NDArray[Any]]) -> tuple[Tensor, ...]:
    """Return what `forward` takes; inputs that are left out take their defaults."""
    arrays = (feeds[i.name] if i.name in feeds else np.array(i.default, dtype=i.dtype) for i in module.inputs)
    return tuple(map(torch.from_numpy, arrays))
