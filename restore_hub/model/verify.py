"""Checks that an exported file matches its manifest, and computes here what it computed where it was exported."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import ModelFileError, counted
from restore_hub.model.devices import PROVIDERS
from restore_hub.model.graph import Graph, open_graph
from restore_hub.model.manifest import METADATA_KEY, Manifest, parse_manifest
from restore_hub.model.model import Model, probe_feeds
from restore_hub.model.scan import OnnxFacts, read_onnx, refuse_external
from restore_hub.model.session import provider_of
from restore_hub.model.signature import check_kind, check_signature
from restore_hub.model.zoo import model_path

DEPTH = 3  # of volumes
SIZES = ((1, 1), (1, 7), (7, 1), (2, 3), (15, 22), (33, 40))
PHASES = tuple(itertools.product((0, 1), (0, 1)))
_DOMAINS = ("ai.onnx", "ai.onnx.ml")


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the result.

    Attributes:
        name: of the check.
        result: how it came out.
        finding: what was found, or what's wrong.
        error: what's wrong, for programs.
    """

    name: str
    result: Literal["ok", "WRONG", "not run"]
    finding: str
    error: ModelFileError | None = None


class _Subject:
    """A file under test. Each method is one check, which returns what it found or raises ModelFileError.

    Later checks use what earlier ones found; `_CHECKS` lists which.
    """

    facts: OnnxFacts
    manifest: Manifest
    graph: Graph
    model: Model

    def __init__(self, path: Path, device: str) -> None:
        self.path = path
        self.device = device
        self.made: list[tuple[str, NDArray[Any]]] = []

    def file(self) -> str:
        self.facts = read_onnx(self.path)
        return f"ONNX of {self.facts.size} bytes, {self.facts.nodes} nodes"

    def self_contained(self) -> str:
        refuse_external(self.facts, self.path)
        return "reads no other file"

    def operators(self) -> str:
        foreign = {f"{d}:{n}" for d, n in self.facts.operators - self.facts.functions if d not in _DOMAINS}
        if foreign:
            raise ModelFileError("verify.foreign-operators", self.path, operators=", ".join(sorted(foreign))[:200])
        return f"{len(self.facts.operators)} different ones, all in ONNX"

    def read_manifest(self) -> str:
        self.manifest = parse_manifest(self.facts.metadata.get(METADATA_KEY), self.path)
        return f"{self.manifest.name}, version {self.manifest.version}"

    def kind(self) -> str:
        check_kind(self.manifest, self.path)
        taken, given = (", ".join(t.name for t in side) for side in (self.manifest.inputs, self.manifest.outputs))
        return f"{self.manifest.kind}: {taken} to {given}"

    def opset(self) -> str:
        found, stated = self.facts.opsets.get("ai.onnx"), self.manifest.opset
        if found != stated:
            raise ModelFileError("verify.opset-differs", self.path, graph=found, manifest=stated)
        return str(found)

    def loads(self) -> str:
        self.graph = open_graph(self.path, self.device, self.facts.sha256)
        return f"on {self.device} ({PROVIDERS[self.device]})"

    def interface(self) -> str:
        check_signature(self.graph.session, self.manifest, self.path)
        self.model = Model(self.graph, self.manifest)
        return "inputs, outputs and defaults match the manifest"

    def test_vector(self) -> str:
        return f"differs by {self.model.verify():.2g} (at most {self.manifest.probe.tolerance:g})"

    def sizes(self) -> str:
        for height, width in SIZES:
            self._run(f"at {height}x{width}", height, width)
        return ", ".join(f"{height}x{width}" for height, width in SIZES)

    def phases(self) -> str:
        if not any(tensor.name == "phase" for tensor in self.manifest.inputs):
            return "takes no mosaic"
        for phase in PHASES:
            self._run(f"with red at {phase}", 5, 8, phase)
        return "all four"

    def defaults(self) -> str:
        """A default in the manifest is what the graph uses when that input is left out."""
        given = [tensor for tensor in self.manifest.inputs if tensor.default is not None]
        try:
            spelled = {t.name: np.array(t.default, t.dtype).reshape([int(size) for size in t.shape]) for t in given}
        except (ValueError, OverflowError) as error:
            raise ModelFileError("verify.bad-default", self.path, cause=str(error)) from error
        feeds = {name: v for name, v in probe_feeds(self.manifest.inputs, 0, 6, 9).items() if name not in spelled}
        left_out, given_all = self.model.outputs(feeds), self.model.outputs({**feeds, **spelled})
        difference = max(float(np.abs(left_out[name] - given_all[name]).max()) for name in left_out)
        if not difference <= self.manifest.probe.tolerance:
            raise ModelFileError("verify.defaults-differ", self.path, difference=difference)
        return f"of {', '.join(spelled)}" if spelled else "none"

    def finite(self) -> str:
        for where, output in self.made:
            if not np.isfinite(output).all():
                raise ModelFileError("verify.not-finite", where)
        return f"in {counted(len({where for where, _ in self.made}), 'run')}"

    def _run(self, where: str, height: int, width: int, phase: tuple[int, int] = (0, 0)) -> None:
        try:
            made = self.model.outputs(probe_feeds(self.manifest.inputs, 1, height, width, phase, DEPTH))
        except ModelFileError as error:
            raise error.at(where) from error
        for tensor in self.manifest.outputs:
            expected = tensor.sized({"depth": DEPTH, "height": height, "width": width})
            if made[tensor.name].shape != expected:
                raise ModelFileError("verify.wrong-size", where, found=made[tensor.name].shape, expected=expected)
            self.made.append((where, made[tensor.name]))


# Name, check, and the checks it depends on.
_CHECKS: tuple[tuple[str, Callable[[_Subject], str], tuple[str, ...]], ...] = (
    ("file", _Subject.file, ()),
    ("self-contained", _Subject.self_contained, ("file",)),
    ("operators", _Subject.operators, ("file",)),
    ("manifest", _Subject.read_manifest, ("file",)),
    ("kind", _Subject.kind, ("manifest",)),
    ("opset", _Subject.opset, ("manifest",)),
    ("loads", _Subject.loads, ("self-contained",)),
    ("interface", _Subject.interface, ("loads", "manifest")),
    ("test vector", _Subject.test_vector, ("interface",)),
    ("defaults", _Subject.defaults, ("interface",)),
    ("sizes", _Subject.sizes, ("interface",)),
    ("phases", _Subject.phases, ("interface",)),
    ("finite", _Subject.finite, ("sizes", "phases")),
)


def verify(path: str | Path, *, device: str = "cpu") -> list[Check]:
    """Run every check on one file, except those that depend on a failed one.

    Raises:
        ModelFileError: the device is unknown, this onnxruntime has no provider for it, or the zoo has no such model.
    """
    provider_of(device)
    subject, checks, failed = _Subject(model_path(path), device), list[Check](), set[str]()
    for name, make, needs in _CHECKS:
        missing = [need for need in needs if need in failed]
        if missing:
            check = Check(name, "not run", f"needs {missing[0]}")
        else:
            try:
                check = Check(name, "ok", make(subject))
            except ModelFileError as error:
                check = Check(name, "WRONG", str(error).replace(f"{subject.path}: ", "", 1), error)
        checks.append(check)
        if check.result != "ok":
            failed.add(name)
    return checks
