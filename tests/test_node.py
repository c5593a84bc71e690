"""The lines of JavaScript in docs/how-to/deploy.md run an exported file in Node, and give what Python gives."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from restore_hub.model.sequence import load
from support import DOCS

HEIGHT, WIDTH = 140, 168


def call(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "npm_config_cache": str(folder / "cache"), "npm_config_update_notifier": "false"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which Node finds onnxruntime-node, for the CPU."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text('{"type": "module"}')
    # Without its script, which fetches what GPUs need.
    done = call(folder, "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "onnxruntime-node")
    if re.search(r"\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH)\b", done.stderr):
        pytest.skip("npm reaches no registry")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.long
def test_node_gives_what_python_gives(node: Path, models: Path) -> None:
    """Node passes over inputs with defaults; the lines put what they say into the mosaic, which is the same."""
    (snippet,) = re.findall(r"```js\n(.*?)```", (DOCS / "how-to" / "deploy.md").read_text(encoding="utf-8"), re.S)
    (node / "restore.js").write_text(snippet)
    shutil.copyfile(models / "chain.onnx", node / "chain.onnx")
    mosaic = np.random.default_rng(0).integers(500, 1500, (HEIGHT, WIDTH)).astype("<u2")
    mosaic.tofile(node / "sensor.raw")
    done = call(node, "node", "restore.js")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    picture = np.fromfile(node / "picture.f32", "<f4").reshape(1, 3, HEIGHT, WIDTH)
    four = np.ones(4, np.float32)
    sensor = {"phase": np.array([0, 0]), "black": 512 * four, "white": 16383 * four}
    exposure = {"balance": np.float32([2, 1, 1, 1.5]), "gain": np.float32([20])}
    feeds = {"mosaic": mosaic[None, None].astype(np.float32), **sensor, **exposure}
    expected = load(models / "chain.onnx")(feeds)
    np.testing.assert_allclose(picture, expected, atol=1e-5)
    assert expected.std() > 0.01
