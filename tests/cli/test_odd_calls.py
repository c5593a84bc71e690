"""Odd arguments and odd names on the command line: one line that says what's wrong, and no partial files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from restore_hub.cli.units import printable
from restore_hub.model.manifest import METADATA_KEY
from restore_hub.photo.picture_writer import write_picture
from support.commands import end


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_picture(tmp_path / "a.png", np.full((20, 30, 3), 0.5))
    return tmp_path


@pytest.mark.parametrize(
    ("out", "error_code"),
    [
        ("none/o.png", "restore.no-output-folder"),
        ("a.png/o.png", "restore.no-output-folder"),
        ("no\nsuch/o.png", "restore.no-output-folder"),
        ("pipe.png", "restore.output-not-a-file"),
        ("folder.png", "restore.output-not-a-file"),
        ("o.", "photo.unknown-suffix"),
        (".png", "photo.unknown-suffix"),
        (f"{'x' * 300}.png", "files.cannot-write"),
        ("a.png", "restore.output-is-input"),
        ("same.png", "restore.output-is-input"),
    ],
)
def test_unwritable_results(
    here: Path, models: Path, capsys: pytest.CaptureFixture[str], out: str, error_code: str
) -> None:
    os.mkfifo("pipe.png")
    (here / "folder.png").mkdir()
    os.link("a.png", "same.png")
    before = sorted(os.listdir())
    arguments = ("restore", models / "enhance.onnx", "a.png", "-o", out, "--overwrite")
    code, printed, err = end(capsys, *arguments)
    assert (code, printed, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(f"error: {printable(out)}: ")
    error = json.loads(end(capsys, "--json", *arguments)[2])
    assert (error["code"], error["place"]) == (error_code, out)
    assert sorted(os.listdir()) == before


@pytest.mark.usefixtures("here")
def test_an_empty_argument_is_not_the_current_folder(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unset variable leaves it empty, and the whole folder would be restored."""
    model = str(models / "enhance.onnx")
    for arguments in (["restore", model, "", "-o", "o.png"], ["restore", "", "a.png", "-o", "o.png"],
                      ["restore", model, "a.png", "-o", ""], ["inspect", ""], ["verify", ""]):  # fmt: skip
        code, _, err = end(capsys, *arguments)
        assert code == 2
        assert "it is empty" in err
    assert os.listdir() == ["a.png"]


def test_odd_names_are_printed_in_one_line(here: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = end(capsys, "restore", models / "enhance.onnx", "no\nne.png", "-o", "o.png")
    assert (code, len(err.splitlines())) == (2, 1)
    assert err.startswith("error: no\\nne.png: ")
    os.rename("a.png", "-ü\n\x1b[2J.png")
    code, out, err = end(capsys, "restore", "-o", "o\n.png", "--", models / "enhance.onnx", "-ü\n\x1b[2J.png")
    assert (code, out, err) == (0, "wrote o\\n.png (30x20, 8 bits)\n", "")
    (here / "in").mkdir()
    (here / "in" / "b\nc.png").write_bytes(b"no picture")
    code, out, err = end(capsys, "restore", models / "enhance.onnx", "in", "-o", "out")
    assert code == 1
    assert err.splitlines()[-1].startswith("failed: b\\nc.png: ")


@pytest.mark.usefixtures("here")
def test_a_manifest_commands_no_terminal(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = onnx.load(models / "enhance.onnx")
    manifest = json.loads({entry.key: entry.value for entry in model.metadata_props}[METADATA_KEY])
    manifest |= {"name": "x\x1b[2Jy", "licence": "a\nb"}
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(manifest)})
    onnx.save(model, "m.onnx")
    code, out, _ = end(capsys, "inspect", "m.onnx")
    assert code == 0
    assert out.splitlines()[0].startswith(r"x\x1b[2Jy  (rgb-to-rgb, opset 20, licence a\nb")
    code, out, _ = end(capsys, "verify", "m.onnx")
    assert code == 0
    assert "\x1b" not in out


def test_printable() -> None:
    assert printable("ä b\n\t\udcff\x1b[m") == r"ä b\n\t\udcff\x1b[m"
