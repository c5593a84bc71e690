"""A source names one file, or several with a + in between."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from restore_hub import load
from restore_hub.errors import ModelFileError
from restore_hub.model import zoo
from restore_hub.model.locate import paths_of


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("a.onnx", "b.onnx", "x+y.onnx", "1+1+1.onnx", "sub/c.onnx", r"C:\models\a.onnx", r"D:\b.onnx"):
        (tmp_path / name).touch()


@pytest.mark.parametrize(
    "names",
    [
        ["a.onnx"],
        ["a.onnx", "b.onnx"],
        ["a.onnx", "b.onnx", "sub/c.onnx"],
        ["a.onnx", "a.onnx"],
        ["x+y.onnx"],
        ["a.onnx", "x+y.onnx", "b.onnx"],
        ["1+1+1.onnx", "x+y.onnx"],
        [r"C:\models\a.onnx", r"D:\b.onnx"],
    ],
)
def test_files_in_their_order(names: list[str]) -> None:
    assert paths_of("+".join(names)) == tuple(map(Path, names))
    assert paths_of(Path("+".join(names))) == tuple(map(Path, names))


@pytest.mark.parametrize("source", ["a.onnx+", "+a.onnx", "+", "a.onnx++b.onnx"])
def test_nothing_beside_a_plus(source: str) -> None:
    with pytest.raises(ModelFileError, match=re.escape(f"{source!r} has no file before or after a +, which joins")):
        paths_of(source)


def test_a_file_that_is_not_there() -> None:
    assert paths_of("none.onnx") == (Path("none.onnx"),)
    with pytest.raises(ModelFileError, match=r"^no such model file: none\.onnx$"):
        load("none.onnx")
    for source in ("a.onnx+none.onnx", "none.onnx+a.onnx", f"a.onnx+none.onnx+{'b' * 5000}"):
        with pytest.raises(ModelFileError, match=r"no such model file: none\.onnx; in '.*' a \+ joins files"):
            paths_of(source)
    with pytest.raises(ModelFileError, match="no such model file: sub;"):
        paths_of("a.onnx+sub")


def test_parts_of_the_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def zoo_file(name: str) -> Path:
        if name != "b":
            raise ModelFileError(f"the zoo has no {name!r}")
        return tmp_path / "b.onnx"

    monkeypatch.setattr(zoo, "zoo_file", zoo_file)
    assert paths_of("zoo:b") == (tmp_path / "b.onnx",)
    assert paths_of("a.onnx+zoo:b") == (Path("a.onnx"), tmp_path / "b.onnx")
    assert paths_of("zoo:b+zoo:b") == (tmp_path / "b.onnx",) * 2
    with pytest.raises(ModelFileError, match="the zoo has no 'c'"):
        paths_of("a.onnx+zoo:c")
