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
from restore_hub.model.model import Model, load, noise, probe_feeds

# What a file is made from: named inputs to its named outputs; inputs with defaults may be left out.
Reference: TypeAlias = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]
TOLERANCE = 1e-4
FLIPPED = 1e-3  # share of whole numbers that may differ, since rounding decides where two classes are equally likely
PROBE_SIZE = (47, 61)
PROBE_DEPTH = 5  # of volumes
PARITY_SIZES = ((64, 64), (37, 53), (130, 71), (14, 30), (1, 7), (7, 1), (1, 1))  # odd, tiny; one needs no padding
DEPTHS = (5, 8, 1)
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
    probe = manifest.probe
    if not np.isfinite([value for samples in manifest.tested.values() for *_, value in samples]).all():
        raise ExportError("export.not-finite", path, reference=made_from, height=probe.height, width=probe.width)
    with written(path) as temporary:
        save(graph, manifest, temporary)
        model = load(temporary)
        measured = {
            "parity": _parity(model, reference, path, made_from),
            "tiling": tiling(model),
            "memory": None if any("depth" in info.shape for info in manifest.inputs) else measure_memory(temporary),
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
    depth = PROBE_DEPTH if any("depth" in info.shape for info in inputs) else 1
    made = reference(probe_feeds(inputs, seed, height, width, depth=depth))
    samples, *others = (_samples(output[0], seed, count) for output in made.values())
    further = dict(zip(list(made)[1:], others, strict=True))
    probe = Probe(seed=seed, height=height, width=width, depth=depth, samples=samples, tolerance=tolerance)
    return probe.model_copy(update={"further": further})


def _samples(output: NDArray[Any], seed: int, count: int) -> list[list[float]]:
    """Return random places in an output, each followed by the value there."""
    places = np.random.default_rng(seed).integers(0, output.shape, size=(count, output.ndim)).tolist()
    return [[*place, float(output[tuple(place)])] for place in places]


def save(graph: onnx.ModelProto, manifest: Manifest, path: Path) -> None:
    """Write a graph with a manifest in its metadata."""
    kept = {entry.key: entry.value for entry in graph.metadata_props}
    onnx.helper.set_model_props(graph, {**kept, METADATA_KEY: manifest.model_dump_json(exclude_none=True)})
    graph.graph.name = manifest.name
    graph.producer_name = "restore_hub"
    onnx.save(graph, str(path))


def trials(inputs: Sequence[TensorInfo]) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
    """Yield feeds at odd, even and tiny sizes and all CFA phases, each with a text that names size and phase.

    Numbers with a default take it in every other trial.
    """
    phases = PHASES if any(info.name == "phase" for info in inputs) else PHASES[:1]
    volumes = any("depth" in info.shape for info in inputs)
    for seed, ((height, width), phase) in enumerate(itertools.product(PARITY_SIZES, phases)):
        depth = DEPTHS[seed % len(DEPTHS)]
        feeds = probe_feeds(inputs, seed, height, width, phase, depth)
        if seed % 2:
            rng = np.random.default_rng(seed)
            feeds.update({info.name: noise(info, {}, rng) for info in inputs if _has_range(info)})
        yield f"{f'{depth}x' * volumes}{height}x{width}, phase {phase}", feeds


def _has_range(info: TensorInfo) -> bool:
    return info.is_number and info.default is not None and info.low is not None and info.high is not None


def opset_of(graph: onnx.ModelProto) -> int:
    """Return the version of the standard operators that a graph uses."""
    return next(int(entry.version) for entry in graph.opset_import if entry.domain in ("", "ai.onnx"))


def _parity(model: Model, reference: Reference, path: Path, made_from: str) -> float:
    """Return the largest difference between a file and its reference over sizes and phases; refuse a large one."""
    worst = 0.0
    for size, feeds in trials(model.manifest.inputs):
        expected, given = reference(feeds), model.outputs(feeds)
        facts: dict[str, Any] = {"reference": made_from, "size": size}
        for info in model.manifest.outputs:
            one, other = expected[info.name], given[info.name]
            if one.shape != other.shape:
                raise ExportError("export.wrong-shape", path, shape=other.shape, expected=one.shape, **facts)
            worst = max(worst, _difference(info, one, other, path, facts))
    return worst


def _difference(
    info: TensorInfo, expected: NDArray[Any], given: NDArray[Any], path: Path, facts: Mapping[str, Any]
) -> float:
    """Return the largest difference of an output; a whole number counts only if too many are others."""
    if info.dtype == "int64" and (expected != given).sum() <= max(1, FLIPPED * given.size):
        return 0.0
    with np.errstate(invalid="ignore"):  # infinite in both
        difference = np.abs(given - expected)
    if info.dtype == "float32":
        difference[np.isnan(difference)] = np.inf
    largest = float(difference.max())
    if not largest <= TOLERANCE:
        where = _place(info, np.unravel_index(int(difference.argmax()), difference.shape))
        raise ExportError("export.differs", path, difference=largest, tolerance=TOLERANCE, where=where, **facts)
    return largest


def _place(info: TensorInfo, index: Sequence[Any]) -> str:
    """Return where a value of an output is, such as `output 'clean', channel 0, row 3, column 4`."""
    names = {"depth": "slice", "height": "row", "width": "column"}
    axes = [f"{names.get(str(axis), 'channel')} {int(at)}" for axis, at in zip(info.shape[1:], index[1:], strict=True)]
    return ", ".join((f"output {info.name!r}", *axes))
