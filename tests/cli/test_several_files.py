"""Commands on files with a + in between, and the command that merges them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from restore_hub.cli import group
from restore_hub.errors import ExportError, ModelFileError
from restore_hub.export import gate
from restore_hub.model.manifest import Memory
from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.pictures import read_picture

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_model: Write) -> Path:
    """Return the folder that commands run in, with files for RAW (`r.onnx`) and pictures (`p.onnx`, `q.onnx`)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gate, "measure_memory", lambda _: Memory(base=1, per_pixel=1))
    write_model(tmp_path / "r.onnx", "raw-to-rgb", factor=1e-4)
    write_model(tmp_path / "p.onnx", factor=0.5)
    write_model(tmp_path / "q.onnx", factor=0.8, licence="MIT")
    return tmp_path


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(group, list(arguments))


def test_restore_of_one_photograph_and_of_a_folder(folder: Path, write_raw: Write) -> None:
    write_picture(folder / "in.png", np.full((8, 9, 3), 0.5, np.float32))
    done = _run("restore", "p.onnx+q.onnx", "in.png", "-o", "out.png", "--bits", "16")
    assert done.exit_code == 0, done.output
    np.testing.assert_allclose(read_picture(folder / "out.png").pixels, 0.5 * 0.5 * 0.8, atol=2e-3)
    for seed in range(2):
        write_raw(folder / "photos" / f"{seed}.dng", seed)
    arguments = ("restore", "r.onnx+p.onnx", "photos", "-o", "out", "--jobs", "2", "--tile", "16", "--device", "cpu")
    assert "done  skipped  failed" in _run(*arguments).output
    assert sorted(path.name for path in (folder / "out").glob("*.png")) == ["0.png", "1.png"]
    assert _run(*arguments).stdout.splitlines()[1].split()[:3] == ["0", "2", "0"]


@pytest.mark.parametrize("source", ["p.onnx+", "+", "p.onnx+none.onnx", "p.onnx+r.onnx"])
def test_models_that_cannot_run_write_nothing(folder: Path, source: str) -> None:
    write_picture(folder / "in.png", np.full((8, 9, 3), 0.5, np.float32))
    done = _run("restore", source, "in.png", "-o", "out.png")
    assert isinstance(done.exception, ModelFileError)
    assert not (folder / "out.png").exists()


def test_inspect_shows_each_and_whether_they_fit() -> None:
    fit = _run("inspect", "r.onnx+p.onnx")
    assert fit.exit_code == 0
    assert fit.output.index("t/r  (raw-to-rgb") < fit.output.index("t/p  (rgb-to-rgb")
    assert fit.output.splitlines()[-1] == "fit: r.onnx+p.onnx runs in sequence"
    wrong = _run("inspect", "p.onnx+r.onnx")
    assert wrong.exit_code == 1
    assert wrong.output.index("t/p  (rgb-to-rgb") < wrong.output.index("t/r  (raw-to-rgb")
    assert "\np.onnx before r.onnx: " in wrong.output
    shown = json.loads(_run("inspect", "r.onnx+p.onnx", "--json").output)
    assert (shown["fit"], [model["name"] for model in shown["models"]]) == (True, ["t/r", "t/p"])
    assert json.loads(_run("inspect", "p.onnx+r.onnx", "--json").stdout)["fit"] is False
    assert json.loads(_run("inspect", "p.onnx", "--json").output)["name"] == "t/p"


def test_verify_checks_each_and_whether_they_fit(folder: Path) -> None:
    fit = _run("verify", "r.onnx+p.onnx", "q.onnx")
    assert fit.exit_code == 0, fit.output
    heads = [line for line in fit.output.splitlines() if line[0] != " "]
    assert heads == ["r.onnx: ok", "p.onnx: ok", "r.onnx+p.onnx: fit together", "q.onnx: ok"]
    wrong = _run("verify", "p.onnx+r.onnx", "q.onnx")
    assert wrong.exit_code == 1
    assert "p.onnx+r.onnx: p.onnx before r.onnx: " in wrong.output
    (folder / "p.onnx").write_bytes(b"no")
    broken = _run("verify", "r.onnx+p.onnx")
    assert broken.exit_code == 1
    assert "p.onnx: wrong in file" in broken.output
    assert "fit together" not in broken.output


def test_merge_writes_a_file_that_other_commands_take(folder: Path) -> None:
    done = _run("export", "--merge", "r.onnx+p.onnx+q.onnx", "-o", "m.onnx")
    assert done.exit_code == 0, done.output
    assert done.output.startswith("merged    m.onnx  (raw-to-rgb, differs from its parts by at most ")
    assert _run("verify", "m.onnx").exit_code == 0
    shown = _run("inspect", "m.onnx").output
    assert "t/r+t/p+t/q  (raw-to-rgb, opset 20, licence CC0-1.0 (t/r); CC0-1.0 (t/p); MIT (t/q))" in shown
    assert "differs from its parts by at most" in shown
    again = _run("export", "--merge", "r.onnx+p.onnx", "-o", "m.onnx")
    assert isinstance(again.exception, ExportError)
    assert _run("export", "--merge", "r.onnx+p.onnx", "-o", "m.onnx", "--overwrite").exit_code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["m.onnx", "p.onnx", "q.onnx", "r.onnx"]
