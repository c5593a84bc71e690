"""Commands on files with a + in between, and the command that merges them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from restore_hub.errors import ExportError, ModelFileError
from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.pictures import read_picture
from support.commands import invoke, output
from support.models import Write


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_model: Write) -> Path:
    """Return the folder that commands run in, with files for RAW (`r.onnx`) and pictures (`p.onnx`, `q.onnx`)."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "r.onnx", "raw-to-rgb", factor=1e-4)
    write_model(tmp_path / "p.onnx", factor=0.5)
    write_model(tmp_path / "q.onnx", factor=0.8, licence="MIT")
    return tmp_path


def test_restore_of_one_photograph_and_of_a_folder(folder: Path, write_raw: Write) -> None:
    write_picture(folder / "in.png", np.full((8, 9, 3), 0.5, np.float32))
    output("restore", "p.onnx+q.onnx", "in.png", "-o", "out.png", "--bits", "16")
    np.testing.assert_allclose(read_picture(folder / "out.png").pixels, 0.5 * 0.5 * 0.8, atol=2e-3)
    for seed in range(2):
        write_raw(folder / "photos" / f"{seed}.dng", seed)
    arguments = ("restore", "r.onnx+p.onnx", "photos", "-o", "out", "--jobs", "2", "--tile", "16", "--device", "cpu")
    assert "done  skipped  failed" in output(*arguments)
    assert sorted(path.name for path in (folder / "out").glob("*.png")) == ["0.png", "1.png"]
    assert invoke(*arguments).stdout.splitlines()[1].split()[:3] == ["0", "2", "0"]


@pytest.mark.parametrize("source", ["p.onnx+", "+", "p.onnx+none.onnx", "p.onnx+r.onnx"])
def test_models_that_cannot_run_write_nothing(folder: Path, source: str) -> None:
    write_picture(folder / "in.png", np.full((8, 9, 3), 0.5, np.float32))
    assert isinstance(invoke("restore", source, "in.png", "-o", "out.png").exception, ModelFileError)
    assert not (folder / "out.png").exists()


def test_inspect_shows_each_and_whether_they_fit() -> None:
    fit = output("inspect", "r.onnx+p.onnx")
    assert fit.index("t/r  (raw-to-rgb") < fit.index("t/p  (rgb-to-rgb")
    assert fit.splitlines()[-1] == "fit: r.onnx+p.onnx runs in sequence"
    wrong = output("inspect", "p.onnx+r.onnx", exit_code=1)
    assert wrong.index("t/p  (rgb-to-rgb") < wrong.index("t/r  (raw-to-rgb")
    assert "\np.onnx before r.onnx: " in wrong
    shown = json.loads(output("inspect", "r.onnx+p.onnx", "--json"))
    assert (shown["fit"], [model["name"] for model in shown["models"]]) == (True, ["t/r", "t/p"])
    assert json.loads(invoke("inspect", "p.onnx+r.onnx", "--json").stdout)["fit"] is False
    assert json.loads(output("inspect", "p.onnx", "--json"))["name"] == "t/p"


def test_verify_checks_each_and_whether_they_fit(folder: Path) -> None:
    lines = output("verify", "r.onnx+p.onnx", "q.onnx").splitlines()
    heads = ["r.onnx: ok", "p.onnx: ok", "r.onnx+p.onnx: fit together", "q.onnx: ok"]
    assert [line for line in lines if line[0] != " "] == heads
    wrong = output("verify", "p.onnx+r.onnx", "q.onnx", exit_code=1)
    assert "p.onnx+r.onnx: p.onnx before r.onnx: " in wrong
    (folder / "p.onnx").write_bytes(b"no")
    broken = output("verify", "r.onnx+p.onnx", exit_code=1)
    assert "p.onnx: wrong in file" in broken
    assert "fit together" not in broken


def test_merge_writes_a_file_that_other_commands_take(folder: Path) -> None:
    merged = output("export", "--merge", "r.onnx+p.onnx+q.onnx", "-o", "m.onnx")
    assert merged.startswith("merged    m.onnx  (raw-to-rgb, differs from its parts by at most ")
    output("verify", "m.onnx")
    shown = output("inspect", "m.onnx")
    assert "t/r+t/p+t/q  (raw-to-rgb, opset 20, licence CC0-1.0 (t/r); CC0-1.0 (t/p); MIT (t/q))" in shown
    assert "differs from its parts by at most" in shown
    again = ("export", "--merge", "r.onnx+p.onnx", "-o", "m.onnx")
    assert isinstance(invoke(*again).exception, ExportError)
    output(*again, "--overwrite")
    assert sorted(path.name for path in folder.iterdir()) == ["m.onnx", "p.onnx", "q.onnx", "r.onnx"]
