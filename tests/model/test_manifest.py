"""A manifest's version, and numbers that make no sense."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from restore_hub.model.manifest import Manifest, parse_manifest
from support import refused

SOUND: dict[str, Any] = {
    **{"name": "t", "kind": "rgb-to-rgb", "size_multiple": 4, "opset": 20, "parity": 1e-6, "licence": "MIT"},
    "inputs": [{"name": "rgb", "shape": [1, 3, "height", "width"]}],
    "outputs": [{"name": "made", "shape": [1, 3, "height", "width"]}],
    "probe": {"seed": 1, "height": 4, "width": 5, "samples": [[0, 0, 0, 0.5]], "tolerance": 1e-4},
}


def test_a_newer_manifest_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    text = '{"version": 99, "name": "t", "something": "new"}'
    with refused("model.newer-manifest", "c.onnx", version=99, highest=2):
        parse_manifest(text, tmp_path / "c.onnx")
    for damaged in ('{"version": "x"}', '{"version": 1}', "[1]", "{", "[" * 5000):
        with refused("model.damaged-manifest", "c.onnx"):
            parse_manifest(damaged, tmp_path / "c.onnx")


FIRST = SOUND["inputs"][0]
SENSELESS: list[tuple[str, dict[str, Any]]] = [
    ("version", {"version": -1}),
    ("size_multiple", {"size_multiple": -5}),
    ("opset", {"opset": 0}),
    ("parity", {"parity": -1.0}),
    ("parity", {"parity": float("nan")}),
    ("inputs.0.low", {"inputs": [{**FIRST, "low": 1e300}]}),
    ("inputs.0.high", {"inputs": [{**FIRST, "high": 1e300}]}),
    ("inputs.0.default", {"inputs": [{**FIRST, "default": [1e300]}]}),  # beyond float32
]


@pytest.mark.parametrize(("where", "change"), SENSELESS)
def test_senseless_numbers_are_damage(tmp_path: Path, where: str, change: dict[str, Any]) -> None:
    assert parse_manifest(json.dumps(SOUND), tmp_path / "c.onnx") == Manifest(**SOUND)
    with refused("model.damaged-manifest") as caught:
        parse_manifest(json.dumps({**SOUND, **change}), tmp_path / "c.onnx")
    assert caught.value.facts["where"].startswith(where)
