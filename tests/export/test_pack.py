"""Packing a file for another program: what every exporter can rely on, with one that copies."""

from __future__ import annotations

from pathlib import Path

import pytest

from restore_hub.export.pack import make_exporter, pack
from restore_hub.plugins import default_registry
from support import check, refused
from support.commands import invoke

PLUGIN = """
from restore_hub.hookspecs import hookimpl

@hookimpl
def register_exporters(register):
    register("copy", "copier:Copy", summary="Copies")

class Copy:
    suffix = ".copy"

    def __init__(self, times: int = 1):
        self.times = times

    def pack(self, source, name):
        return name.encode() + self.times * source.read_bytes()
"""


class Copy:
    suffix = ".copy"

    def pack(self, source: Path, name: str) -> bytes:
        return name.encode() + source.read_bytes()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "m.onnx").write_bytes(b"graph")
    return tmp_path / "m.onnx"


def test_a_file_is_replaced_only_when_asked(source: Path) -> None:
    out = source.with_name("My.copy")
    out.write_text("mine")
    with refused("export.exists", out):
        pack(source, Copy(), out)
    assert out.read_text() == "mine"
    pack(source, Copy(), out, overwrite=True)
    assert out.read_text() == "Mygraph"


def test_a_file_that_cannot_be_written(source: Path) -> None:
    for name, code in (("a.zip", "export.wrong-suffix"), ("no/a.copy", "export.cannot-write")):
        with refused(code, name):
            pack(source, Copy(), source.parent / name)
    assert list(source.parent.iterdir()) == [source]
    with refused("plugin.unknown-component", name="darktable/dtmodle"):
        make_exporter(default_registry(), "darktable/dtmodle")


def test_the_command_packs_with_a_plugin_s_exporter(source: Path) -> None:
    (source.parent / "copier.py").write_text(PLUGIN)
    out = source.with_name("x.copy")
    plugin = ("--overwrite", "--plugin", source.parent / "copier.py")

    def export(*more: str) -> BaseException | None:
        return invoke("export", source, "--to", "copier/copy", "-o", out, *plugin, *more).exception

    assert export("--set", "times=2") is None
    assert out.read_text() == "xgraphgraph"
    check(export("--set", "times"), "export.bad-setting", "times")
    check(export("--set", "height=3"), "option.unknown", "height")
