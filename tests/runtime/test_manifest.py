"""What a manifest says of its version."""

from __future__ import annotations

from pathlib import Path

import pytest

from restore_hub.errors import ModelFileError
from restore_hub.runtime.manifest import parse_manifest


def test_a_newer_manifest_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    text = '{"version": 99, "name": "t", "something": "new"}'
    with pytest.raises(ModelFileError, match=r"version 99, this restore_hub reads up to 2; update"):
        parse_manifest(text, tmp_path / "c.onnx")
    for damaged in ('{"version": "x"}', "[1]", "{", "[" * 5000):
        with pytest.raises(ModelFileError, match="the manifest is damaged"):
            parse_manifest(damaged, tmp_path / "c.onnx")
