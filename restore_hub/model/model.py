"""An exported file, loaded and ready to run: onnxruntime and a manifest, no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import ModelFileError, nearest
from restore_hub.model.graph import Graph, open_graph
from restore_hub.model.manifest import METADATA_KEY, Manifest, TensorInfo, parse_manifest
from restore_hub.model.scan import read_onnx, refuse_external
from restore_hub.model.session import provider_of
from restore_hub.model.signature import check_signature
from restore_hub.model.zoo import model_path


class Model:
    """One ONNX file of restore_hub.

    Attributes:
        graph: what onnxruntime runs.
        manifest: what the file says about itself.
    """

    def __init__(self, graph: Graph, manifest: Manifest) -> None:
        self.graph = graph
        self.manifest = manifest

    @property
    def path(self) -> Path:
        """The file."""
        return self.graph.path

    @property
    def device(self) -> str:
        """Where it runs."""
        return self.graph.device

    def __call__(self, feeds: Mapping[str, Any], *, frugal: bool = False) -> NDArray[Any]:
        """Run the graph on named arrays and return its first output; `outputs` returns all of several.

        Args:
            feeds: the inputs by name; those with a default may be left out. A number may be given as such.
            frugal: keep no memory for the next run; an allocator that does may take twice as much.

        Raises:
            ModelFileError: a missing or unknown input, or onnxruntime fails.
        """
        return self._run([self.manifest.outputs[0].name], feeds, frugal)[0]

    def outputs(self, feeds: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """Run the graph on named arrays and return all outputs by name.

        Raises:
            ModelFileError: as a call.
        """
        names = [tensor.name for tensor in self.manifest.outputs]
        return dict(zip(names, self._run(names, feeds), strict=True))

    def _run(self, names: list[str], feeds: Mapping[str, Any], frugal: bool = False) -> list[NDArray[Any]]:
        known = {tensor.name: tensor for tensor in self.manifest.inputs}
        for name in feeds:
            if name not in known:
                raise ModelFileError(
                    "model.unknown-input", self.path, name=name, known=", ".join(known), mend=nearest(name, known)
                )
        for name, tensor in known.items():
            if name not in feeds and tensor.default is None:
                raise ModelFileError("model.missing-input", self.path, name=name)
        session = (self.graph.frugal_session() if frugal else None) or self.graph.session
        try:
            made = session.run(names, {name: _array(known[name], value) for name, value in feeds.items()})
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise ModelFileError("model.run-failed", self.path, cause=str(error).splitlines()[0]) from error
        return [np.asarray(output) for output in made]

    def with_manifest(self, manifest: Manifest) -> Model:
        """Return the same graph with another manifest."""
        return Model(self.graph, manifest)

    def verify(self) -> float:
        """Run the manifest's test vector; return the largest difference of an output from its stored values.

        Raises:
            ModelFileError: the difference is above the manifest's tolerance, or isn't finite.
        """
        probe = self.manifest.probe
        size = (probe.height, probe.width)
        made = self.outputs(probe_feeds(self.manifest.inputs, probe.seed, *size, probe.phase, probe.depth))
        differences = {}
        for name, samples in self.manifest.tested.items():
            try:
                each = [abs(float(made[name][0][tuple(place)]) - value) for *place, value in samples]
            except (IndexError, TypeError):  # outside the output, or not one value of it
                raise ModelFileError("model.bad-test-vector", self.path, output=name) from None
            differences[name] = worst = float(np.max(each))  # NaN if any of them is
            if not worst <= probe.tolerance:
                facts: dict[str, Any] = {"output": name, "difference": worst, "tolerance": probe.tolerance}
                raise ModelFileError("model.test-vector-differs", self.path, **facts)
        return max(differences.values())


def load(path: str | Path, *, device: str = "cpu", arena: bool = True) -> Model:
    """Load an exported file; its bytes are checked before onnxruntime opens it.

    Args:
        path: the ONNX file, or `zoo:NAME`.
        device: a key of `restore_hub.model.devices.PROVIDERS`; a device that doesn't start is an error, never a
            fall-back.
        arena: keep memory from run to run, which is faster; without it, each run takes only what it needs.

    Raises:
        ModelFileError: no such file or zoo model, not ONNX, data in other files, no manifest or that of another graph,
            or no such device.
    """
    path = model_path(path)
    provider_of(device)
    facts = read_onnx(path)
    refuse_external(facts, path)
    manifest = parse_manifest(facts.metadata.get(METADATA_KEY), path)
    graph = open_graph(path, device, facts.sha256, arena=arena)
    check_signature(graph.session, manifest, path)
    return Model(graph, manifest)


def probe_feeds(
    inputs: Sequence[TensorInfo],
    seed: int,
    height: int,
    width: int,
    phase: tuple[int, int] = (0, 0),
    depth: int = 1,
) -> dict[str, NDArray[Any]]:
    """Return the test vector of a size: uniform noise in each input's range, defaults left out."""
    rng = np.random.default_rng(seed)
    extent = {"depth": depth, "height": height, "width": width}
    feeds: dict[str, NDArray[Any]] = {}
    for tensor in inputs:
        if tensor.name == "phase":
            feeds["phase"] = np.array(phase, dtype=np.int64)
        elif tensor.default is None:
            feeds[tensor.name] = noise(tensor, extent, rng)
    return feeds


def noise(tensor: TensorInfo, extent: Mapping[str, int], rng: np.random.Generator) -> NDArray[Any]:
    """Return uniform noise in an input's range, for the size of a picture or volume."""
    low, high = tensor.low or 0.0, 1.0 if tensor.high is None else tensor.high
    if tensor.dtype == "int64":
        return rng.integers(round(low), round(high) + 1, tensor.sized(extent))
    return np.asarray(low + (high - low) * rng.random(tensor.sized(extent)), np.float32)


def _array(tensor: TensorInfo, value: Any) -> NDArray[Any]:
    return np.asarray(value, tensor.dtype).reshape(1) if tensor.is_number else value
