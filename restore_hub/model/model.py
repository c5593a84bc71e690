"""An exported file, loaded and ready: onnxruntime and a manifest, no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from restore_hub.errors import ModelFileError
from restore_hub.model.manifest import METADATA_KEY, Manifest, parse_manifest
from restore_hub.model.scan import read_onnx, refuse_external
from restore_hub.model.session import open_session, provider_of
from restore_hub.model.signature import check_interface
from restore_hub.model.zoo import model_path


class Model:
    """One ONNX file of restore_hub.

    Attributes:
        path: the file.
        manifest: what it says of itself.
        device: where it runs.
    """

    def __init__(self, path: Path, session: onnxruntime.InferenceSession, manifest: Manifest, device: str) -> None:
        self.path = path
        self.manifest = manifest
        self.device = device
        self._session = session

    def __call__(self, feeds: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Run the graph on named arrays and return its first output.

        Raises:
            ModelFileError: a missing or unknown input, or what onnxruntime refuses.
        """
        known = {tensor.name: tensor for tensor in self.manifest.inputs}
        for name in feeds:
            if name not in known:
                raise ModelFileError(f"{self.path} has no input {name!r}; it has {', '.join(known)}")
        for name, tensor in known.items():
            if name not in feeds and tensor.default is None:
                raise ModelFileError(f"{self.path} needs the input {name!r}")
        try:
            output = self._session.run([self.manifest.outputs[0].name], dict(feeds))[0]
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise ModelFileError(f"{self.path} failed to run: {str(error).splitlines()[0]}") from error
        return np.asarray(output, dtype=np.float32)

    def with_manifest(self, manifest: Manifest) -> Model:
        """Return the same graph under another manifest."""
        return Model(self.path, self._session, manifest, self.device)

    def verify(self) -> float:
        """Run the test vector of the manifest; return the largest difference from what it should give.

        Raises:
            ModelFileError: the difference is above the manifest's tolerance, or is not finite.
        """
        probe = self.manifest.probe
        output = self(probe_feeds(self.manifest.inputs, probe.seed, probe.height, probe.width, probe.phase))
        try:
            differences = [abs(float(output[0, c, y, x]) - value) for c, y, x, value in probe.samples]
        except IndexError:
            raise ModelFileError(
                f"{self.path}: the test vector has values outside of the output; export it again"
            ) from None
        worst = float(np.max(differences))  # one that is not a number makes it no number
        if not worst <= probe.tolerance:
            raise ModelFileError(
                f"{self.path} gives values that differ by {worst:.2g} from its test vector (at most "
                f"{probe.tolerance:g}); the file was altered, or this onnxruntime computes something else"
            )
        return worst


def load(path: str | Path, *, device: str = "cpu", arena: bool = True) -> Model:
    """Load an exported file; what its bytes say is looked at before onnxruntime opens it.

    Args:
        path: the ONNX file, or `zoo:NAME`.
        device: a key of `restore_hub.model.devices.PROVIDERS`; one that does not start is an error, never a
            fall-back.
        arena: keep memory from run to run, which is faster; without it each run takes what it needs and no more.

    Raises:
        ModelFileError: no such file or model of the zoo, not ONNX, data in other files, no manifest, one of another
            graph, or the device is not there.
    """
    path = model_path(path)
    provider_of(device)
    facts = read_onnx(path)
    refuse_external(facts, path)
    manifest = parse_manifest(facts.metadata.get(METADATA_KEY), path)
    session = open_session(path, device, arena=arena)
    check_interface(session, manifest, path)
    return Model(path, session, manifest, device)


def probe_feeds(
    inputs: list[Any], seed: int, height: int, width: int, phase: tuple[int, int] = (0, 0)
) -> dict[str, NDArray[Any]]:
    """Return the test vector of a size: uniform noise in each input's range, defaults left out."""
    rng = np.random.default_rng(seed)
    sizes = {"height": height, "width": width}
    feeds: dict[str, NDArray[Any]] = {}
    for tensor in inputs:
        if tensor.name == "phase":
            feeds["phase"] = np.array(phase, dtype=np.int64)
        elif tensor.default is None:
            shape = [size if isinstance(size, int) else sizes[size] for size in tensor.shape]
            low, high = tensor.low or 0.0, 1.0 if tensor.high is None else tensor.high
            feeds[tensor.name] = (low + (high - low) * rng.random(shape)).astype(np.float32)
    return feeds
