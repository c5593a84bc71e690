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
    for damaged in ('{"version": "x"}', "[1]", "{", "[" * 5000):
        with refused("model.damaged-manifest", "c.onnx"):
            parse_manifest(damaged, tmp_path / "c.onnx")


@pytest.mark.parametrize(
    ("field", "value"),
    [("version", -1), ("size_multiple", -5), ("opset", 0), ("parity", -1.0), ("parity", float("nan"))],
)
def test_senseless_numbers_are_damage(tmp_path: Path, field: str, value: float) -> None:
    assert parse_manifest(json.dumps(SOUND), tmp_path / "c.onnx") == Manifest(**SOUND)
    with refused("model.damaged-manifest", where=field):
        parse_manifest(json.dumps({**SOUND, field: value}), tmp_path / "c.onnx")


@pytest.mark.parametrize("field", ["low", "high", "default"])
def test_values_beyond_float32_are_damage(tmp_path: Path, field: str) -> None:
    value = [1e300] if field == "default" else 1e300
    spoilt = {**SOUND, "inputs": [{**SOUND["inputs"][0], field: value}]}
    with refused("model.damaged-manifest") as caught:
        parse_manifest(json.dumps(spoilt), tmp_path / "c.onnx")
    assert caught.value.facts["where"].startswith(f"inputs.0.{field}")
