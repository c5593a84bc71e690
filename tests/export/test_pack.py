"""Packing a file for another program: what every exporter can rely on, with one that copies."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from restore_hub.cli import group
from restore_hub.errors import RestoreHubError
from restore_hub.export.pack import make_exporter, pack
from restore_hub.plugins import default_registry
from support import check, refused

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


@pytest.mark.parametrize(("name", "code"), [("a.zip", "export.wrong-suffix"), ("no/a.copy", "export.cannot-write")])
def test_a_file_that_cannot_be_written(source: Path, name: str, code: str) -> None:
    with refused(code, name):
        pack(source, Copy(), source.parent / name)
    assert list(source.parent.iterdir()) == [source]


def test_the_command_packs_with_a_plugin_s_exporter(source: Path) -> None:
    (source.parent / "copier.py").write_text(PLUGIN)
    plugin = ["--plugin", str(source.parent / "copier.py")]
    out = source.with_name("x.copy")

    def export(*more: str) -> RestoreHubError | None:
        command = ["export", str(source), "--to", "copier/copy", "-o", str(out), "--overwrite", *plugin, *more]
        return CliRunner().invoke(group, command).exception  # type: ignore[return-value]

    assert export("--set", "times=2") is None
    assert out.read_text() == "xgraphgraph"
    check(export("--set", "times"), "export.bad-setting", "times")
    check(export("--set", "height=3"), "option.unknown", "height")


def test_an_unknown_exporter_is_refused() -> None:
    with refused("plugin.unknown-component", name="darktable/dtmodle"):
        make_exporter(default_registry(), "darktable/dtmodle")
