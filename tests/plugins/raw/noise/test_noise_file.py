"""The noise model, and the file that keeps it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from restore_hub_raw.noise.model import NoiseModel
from restore_hub_raw.noise.noise_file import read_noise_file, write_noise_file
from support import refused


def test_variance_follows_its_definition_and_a_file_keeps_it(tmp_path: Path) -> None:
    np.testing.assert_allclose(NoiseModel(0.5, 0.25).variance([[-1, 0], [0.5, 1]]), [[0.25, 0.25], [0.5, 0.75]])
    path = tmp_path / "noise.yaml"
    model, planes = NoiseModel(1.6e-4, 2.8668090634808992e-08), [NoiseModel(k * 1e-4, 1e-8) for k in range(4)]
    write_noise_file(path, model, planes, "Some Camera", ["a.dng", "b: c.dng"])
    assert read_noise_file(path) == model
    assert "Some Camera" in path.read_text()
    write_noise_file(path, NoiseModel(1, 0))
    assert read_noise_file(path) == NoiseModel(1.0, 0.0)
    with refused("files.cannot-write", tmp_path / "missing"):
        write_noise_file(tmp_path / "missing" / "noise.yaml", model)


@pytest.mark.parametrize(
    ("text", "code", "key"),
    [
        ("shot: 1e-4\n", "missing-key", "read"),
        ("shot: 1e-4\nread: 0\nred: 1\n", "unknown-key", "red"),
        ("shot: -1e-4\nread: 0\n", "bad-variance", "shot"),
        ("shot: 1e-4\nread: .nan\n", "bad-variance", "read"),
        ("shot: .inf\nread: 0\n", "bad-variance", "shot"),
        ("shot: true\nread: 0\n", "bad-variance", "shot"),
        ("shot: lots\nread: 0\n", "bad-variance", "shot"),
        ("shot: 1\nshot: 2\nread: 0\n", "not-yaml", None),
        ("shot: [1\n", "not-yaml", None),
        ("\0", "not-yaml", None),
        ("- 1\n", "not-a-mapping", None),
        ("", "not-a-mapping", None),
    ],
)
def test_a_bad_noise_file_is_one_clear_error(tmp_path: Path, text: str, code: str, key: str | None) -> None:
    path = tmp_path / "noise.yaml"
    path.write_text(text)
    with refused(f"raw-noise.{code}", path, **{"key": key} if key else {}):
        read_noise_file(path)


def test_a_missing_noise_file_is_refused(tmp_path: Path) -> None:
    with refused("raw-noise.unreadable-file", tmp_path / "none.yaml"):
        read_noise_file(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00shot")
    with refused("raw-noise.not-yaml", tmp_path / "binary.yaml"):
        read_noise_file(tmp_path / "binary.yaml")
