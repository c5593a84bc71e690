"""A source names one file, or several with a + in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from restore_hub import load
from restore_hub.errors import ModelFileError
from restore_hub.model import locate as module
from restore_hub.model.locate import locate
from support import refused


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("a.onnx", "b.onnx", "x+y.onnx", "1+1+1.onnx", "sub/c.onnx", *WINDOWS):
        (tmp_path / name).touch()


WINDOWS = [r"C:\models\a.onnx", r"D:\b.onnx"]
NAMES = ["a.onnx", "a.onnx b.onnx", "a.onnx b.onnx sub/c.onnx", "a.onnx a.onnx", "x+y.onnx", "a.onnx x+y.onnx b.onnx"]


@pytest.mark.parametrize("names", [*map(str.split, NAMES), ["1+1+1.onnx", "x+y.onnx"], WINDOWS])
def test_files_in_their_order(names: list[str]) -> None:
    assert locate("+".join(names)) == tuple(map(Path, names))
    assert locate(Path("+".join(names))) == tuple(map(Path, names))


@pytest.mark.parametrize("source", ["a.onnx+", "+a.onnx", "+", "a.onnx++b.onnx"])
def test_nothing_beside_a_plus(source: str) -> None:
    with refused("model.empty-name", source):
        locate(source)


def test_a_file_that_is_not_there() -> None:
    assert locate("none.onnx") == (Path("none.onnx"),)
    with refused("model.missing", "none.onnx"):
        load("none.onnx")
    for source in ("a.onnx+none.onnx", "none.onnx+a.onnx", f"a.onnx+none.onnx+{'b' * 5000}"):
        with refused("model.missing-part", "none.onnx", source=source):
            locate(source)
    with refused("model.missing-part", "sub"):
        locate("a.onnx+sub")


def test_parts_of_the_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def zoo_file(name: str) -> Path:
        if name != "b":
            raise ModelFileError("zoo.unknown", name, name=name, known="b")
        return tmp_path / "b.onnx"

    monkeypatch.setattr(module, "zoo_file", zoo_file)
    assert locate("zoo:b") == (tmp_path / "b.onnx",)
    assert locate("a.onnx+zoo:b") == (Path("a.onnx"), tmp_path / "b.onnx")
    assert locate("zoo:b+zoo:b") == (tmp_path / "b.onnx",) * 2
    with refused("zoo.unknown", "c"):
        locate("a.onnx+zoo:c")
