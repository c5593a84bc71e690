"""The gate that every exported file passes: it is published only if it gives what its source gives."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from restore_hub.errors import ExportError
from restore_hub.export.written import written
from restore_hub.model.manifest import METADATA_KEY, Manifest, Probe, TensorInfo, Tiling
from restore_hub.model.memory_use import measure_memory
from restore_hub.model.model import Model, load, probe_feeds

# What a file is made from: named inputs to its output (1, C, H, W); inputs with defaults may be left out.
Reference: TypeAlias = Callable[[Mapping[str, NDArray[Any]]], NDArray[np.float32]]
TOLERANCE = 1e-4
PROBE_SIZE = (47, 61)
PARITY_SIZES = ((64, 64), (37, 53), (130, 71), (14, 30), (1, 7), (7, 1), (1, 1))  # odd, tiny; one needs no padding
PHASES = tuple(itertools.product((0, 1), (0, 1)))


def publish(
    graph: onnx.ModelProto,
    manifest: Manifest,
    path: Path,
    reference: Reference,
    made_from: str,
    tiling: Callable[[Model], Tiling],
) -> Manifest:
    """Try a graph in onnxruntime, then write it with its manifest, whole or not at all.

    Args:
        graph: it takes on the manifest.
        manifest: all but parity, tiling and memory, which are measured here.
        path: where the file goes.
        reference: gives what the file should give.
        made_from: what errors call the reference.
        tiling: finds how a loaded file may be cut.

    Returns:
        The manifest that was written.

    Raises:
        ExportError: it differs by more than 1e-4, gives values that aren't finite, or can't be written.
    """
    if not np.isfinite([value for *_, value in manifest.probe.samples]).all():
        probe = manifest.probe
        raise ExportError("export.not-finite", path, reference=made_from, height=probe.height, width=probe.width)
    with written(path) as temporary:
        save(graph, manifest, temporary)
        model = load(temporary)
        measured = {
            "parity": _parity(model, reference, path, made_from),
            "tiling": tiling(model),
            "memory": measure_memory(temporary),
        }
        manifest = manifest.model_copy(update=measured)
        save(graph, manifest, temporary)
        load(temporary).verify()
    return manifest


def make_probe(
    inputs: Sequence[TensorInfo],
    reference: Reference,
    tolerance: float = TOLERANCE,
    seed: int = 20231029,
    count: int = 16,
) -> Probe:
    """Make the test vector of a manifest; `tolerance` is how far another machine may differ."""
    height, width = PROBE_SIZE
    output = reference(probe_feeds(list(inputs), seed, height, width))[0]
    places = np.random.default_rng(seed).integers(0, output.shape, size=(count, 3))
    samples = [(int(c), int(y), int(x), float(output[c, y, x])) for c, y, x in places]
    return Probe(seed=seed, height=height, width=width, samples=samples, tolerance=tolerance)


def save(graph: onnx.ModelProto, manifest: Manifest, path: Path) -> None:
    """Write a graph with a manifest in its metadata."""
    kept = {entry.key: entry.value for entry in graph.metadata_props}
    onnx.helper.set_model_props(graph, {**kept, METADATA_KEY: manifest.model_dump_json(exclude_none=True)})
    graph.graph.name = manifest.name
    graph.producer_name = "restore_hub"
    onnx.save(graph, str(path))


def trials(inputs: Sequence[TensorInfo]) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
    """Yield feeds at odd, even and tiny sizes and all CFA phases, each with a text that names size and phase."""
    phases = PHASES if any(info.name == "phase" for info in inputs) else PHASES[:1]
    for seed, ((height, width), phase) in enumerate(itertools.product(PARITY_SIZES, phases)):
        yield f"{height}x{width}, phase {phase}", probe_feeds(list(inputs), seed, height, width, phase)


def opset_of(graph: onnx.ModelProto) -> int:
    """Return the version of the standard operators that a graph uses."""
    return next(int(entry.version) for entry in graph.opset_import if entry.domain in ("", "ai.onnx"))


def _parity(model: Model, reference: Reference, path: Path, made_from: str) -> float:
    """Return the largest difference between a file and its reference over sizes and phases; refuse a large one."""
    worst = 0.0
    for size, feeds in trials(model.manifest.inputs):
        expected, given = reference(feeds), model(feeds)
        if given.shape != expected.shape:
            raise ExportError(
                "export.wrong-shape",
                path,
                reference=made_from,
                size=size,
                shape=given.shape,
                expected=expected.shape,
            )
        with np.errstate(invalid="ignore"):  # infinite in both
            difference = np.abs(given - expected)
        difference[np.isnan(difference)] = np.inf
        largest = float(difference.max())
        if not largest <= TOLERANCE:
            _, channel, row, column = map(int, np.unravel_index(int(difference.argmax()), difference.shape))
            raise ExportError(
                "export.differs",
                path,
                reference=made_from,
                difference=largest,
                tolerance=TOLERANCE,
                size=size,
                channel=channel,
                row=row,
                column=column,
            )
        worst = max(worst, largest)
    return worst
