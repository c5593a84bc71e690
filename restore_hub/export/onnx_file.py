"""A module to one self-describing ONNX file, published only when onnxruntime gives what PyTorch gives."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from restore_hub.errors import ExportError
from restore_hub.export.deploy import Deployed
from restore_hub.export.tiling import find_tiling
from restore_hub.export.trace import trace
from restore_hub.runtime.manifest import METADATA_KEY, Manifest, Probe
from restore_hub.runtime.measure import measure
from restore_hub.runtime.model import load, probe_feeds

TOLERANCE = 1e-4
EXAMPLE_SIZE = (66, 98)  # even, unequal, no multiple of common strides: nothing may be specialised to it
PROBE_SIZE = (47, 61)
PARITY_SIZES = ((64, 64), (37, 53), (130, 71), (14, 30), (1, 7))  # odd ones, one that needs no padding, one tiny
PHASES = tuple(itertools.product((0, 1), (0, 1)))


def export_onnx(
    module: Deployed,
    path: Path,
    *,
    name: str,
    licence: str | None,
    metrics: Mapping[str, float],
    provenance: Mapping[str, Any],
) -> Manifest:
    """Export a module, check it in onnxruntime at several sizes and all CFA phases, then publish the file.

    Args:
        module: what to export, in evaluation mode on the CPU.
        path: where the file goes; it appears there only when it passed.
        name, licence, metrics, provenance: for the manifest.

    Raises:
        ExportError: torch cannot export it, the file cannot be written, or it differs by more than 1e-4 from PyTorch.
    """
    module = module.eval()
    model = _traced(module)
    _add_defaults(model, module)
    temporary = path.with_name(path.name + ".part")
    try:
        manifest = _manifest(module, model, name, licence, metrics, provenance)
        _describe(model, manifest)
        onnx.save(model, str(temporary))
        measured = {
            "parity": _parity(module, temporary),
            "tiling": find_tiling(module, load(temporary)),
            "memory": measure(temporary),
        }
        manifest = manifest.model_copy(update=measured)
        _describe(model, manifest)
        onnx.save(model, str(temporary))
        load(temporary).verify()
        os.replace(temporary, path)
    except OSError as error:
        raise ExportError(
            f"{path} cannot be written: {error.strerror or error}; the weights are whole: mend that and export again "
            "(a run does with --resume)"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # a disk that became read-only refuses that too
            temporary.unlink(missing_ok=True)
    return manifest


def _traced(module: Deployed) -> onnx.ModelProto:
    example = _tensors(module, 0, *EXAMPLE_SIZE, (0, 0))
    height, width = torch.export.Dim("height", min=1), torch.export.Dim("width", min=1)
    dynamic = [{2: height, 3: width} if tensor.dim() == 4 else None for tensor in example]
    return trace(module, example, dynamic, [info.name for info in module.inputs], [module.output.name])


def _add_defaults(model: onnx.ModelProto, module: Deployed) -> None:
    """Make every input with a default an initializer as well, so that a caller may leave it out."""
    for info in module.inputs:
        if info.default is not None:
            values = np.array(info.default, dtype=info.dtype).reshape([int(size) for size in info.shape])
            model.graph.initializer.append(onnx.numpy_helper.from_array(values, info.name))


def _manifest(
    module: Deployed,
    model: onnx.ModelProto,
    name: str,
    licence: str | None,
    metrics: Mapping[str, float],
    provenance: Mapping[str, Any],
) -> Manifest:
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return Manifest(
        name=name,
        kind=module.kind,
        inputs=module.inputs,
        outputs=[module.output],
        size_multiple=module.size_multiple,
        opset=opset,
        parity=0.0,
        probe=_probe(module),
        licence=licence or "not stated",
        metrics=dict(metrics),
        provenance={**provenance, "parameters": module.learnt},
    )


def _describe(model: onnx.ModelProto, manifest: Manifest) -> None:
    kept = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**kept, METADATA_KEY: manifest.model_dump_json(exclude_none=True)})
    model.graph.name = manifest.name
    model.producer_name = "restore_hub"


def _probe(module: Deployed, seed: int = 20231029, count: int = 16) -> Probe:
    """Make the test vector of the manifest; the seed is any fixed number."""
    height, width = PROBE_SIZE
    with torch.inference_mode():
        output = module(*_tensors(module, seed, height, width, (0, 0)))[0]
    places = np.random.default_rng(seed).integers(0, output.shape, size=(count, 3))
    samples = [(int(c), int(y), int(x), float(output[c, y, x])) for c, y, x in places]
    return Probe(seed=seed, height=height, width=width, samples=samples, tolerance=TOLERANCE)


def _parity(module: Deployed, path: Path) -> float:
    """Return the largest difference between the file and PyTorch over sizes and phases; refuse a large one."""
    model = load(path)
    phases = PHASES if any(info.name == "phase" for info in module.inputs) else PHASES[:1]
    worst = 0.0
    for seed, ((height, width), phase) in enumerate(itertools.product(PARITY_SIZES, phases)):
        feeds = probe_feeds(module.inputs, seed, height, width, phase)
        with torch.inference_mode():
            expected = module(*_tensors(module, seed, height, width, phase)).numpy()
        got = model(feeds)
        if got.shape != expected.shape:
            raise ExportError(f"{path.name}: onnxruntime gives {got.shape} where PyTorch gives {expected.shape}")
        difference = np.abs(got - expected)
        if not float(difference.max()) <= TOLERANCE:
            _, channel, row, column = np.unravel_index(int(np.nanargmax(difference)), difference.shape)
            raise ExportError(
                f"{path.name} differs from PyTorch by {difference.max():.3g} (at most {TOLERANCE:g}) at "
                f"{height}x{width}, phase {phase}, channel {channel}, row {row}, column {column}; it is not published"
            )
        worst = max(worst, float(difference.max()))
    return worst


def _tensors(module: Deployed, seed: int, height: int, width: int, phase: tuple[int, int]) -> tuple[Tensor, ...]:
    feeds = probe_feeds(module.inputs, seed, height, width, phase)
    for info in module.inputs:
        if info.name not in feeds:
            feeds[info.name] = np.array(info.default, dtype=info.dtype)
    return tuple(torch.from_numpy(feeds[info.name]) for info in module.inputs)
