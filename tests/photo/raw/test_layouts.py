"""Readers that plugins register: the layouts they take, and what a file is told that nobody reads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from restore_hub.photo.pictures import read_picture
from restore_hub.photo.raw.bayer import Bayer
from restore_hub.photo.raw.layouts import Layout, use_plugin_files
from restore_hub.photo.raw.reader import read_raw, render_raw
from support import check, refused
from support.commands import invoke, output
from support.raw_files import make_dng, make_grey_dng, make_mosaic, make_noise

MONO = """
import numpy as np
from restore_hub import hookimpl
from restore_hub.photo.raw.mosaic import RawImage


class Monochrome:
    def takes(self, layout):
        return layout.colours == 1

    def read(self, file):
        mosaic, four = np.array(file.libraw.raw_image_visible, np.uint16), np.ones(4, np.float32)
        return RawImage(mosaic, (0, 0), 0 * four, 4095 * four, four, "none", **file.facts())


@hookimpl
def register_readers(register):
    register("monochrome", "mono_reader:Monochrome", summary="RAW files of monochrome sensors")
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "mono_reader.py"
    path.write_text(MONO)
    yield path
    use_plugin_files(())
    sys.modules.pop("mono_reader", None)


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    """Return a DNG of a monochrome sensor, taken with the camera upside down."""
    return make_grey_dng(tmp_path / "grey.dng", [(274, 3, 1, 3, True)])


def test_a_plugin_file_adds_a_layout(grey: Path, plugin: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.png"
    command = ("restore", models / "chain.onnx", grey, "-o", out)
    check(invoke(*command).exception, "raw.unknown-layout", grey, readers="raw/bayer")
    output(*command, "--plugin", plugin)
    assert read_picture(out).pixels.shape == (40, 48, 3)
    raw = read_raw(grey)
    assert (raw.mosaic.shape, raw.orientation, raw.sensor) == ((40, 48), 3, (40, 48))
    output("inspect", grey, "--plugin", plugin)
    check(invoke("inspect", grey).exception, "raw.unknown-layout", grey)


def test_a_plugin_file_that_fails_is_an_error(grey: Path, tmp_path: Path) -> None:
    (tmp_path / "broken_reader.py").write_text("1 / 0")
    arguments = ("inspect", grey, "--plugin", tmp_path / "broken_reader.py")
    assert "ZeroDivisionError" in str(invoke(*arguments).exception)


def test_without_plugins_every_raw_file_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_dng(tmp_path / "a.dng")
    make_mosaic(tmp_path / "m.npy", make_noise(30, 40))
    monkeypatch.setenv("RESTORE_HUB_PLUGINS", "none")
    with refused("raw.no-readers", path):
        read_raw(path)
    assert render_raw(path).shape == (30, 40, 3)
    assert read_raw(tmp_path / "m.npy").mosaic.shape == (30, 40)


@pytest.mark.parametrize(
    ("layout", "name", "bayer"),
    [
        (Layout(3, ("RG", "GB")), "RG/GB tiles", True),
        (Layout(3, ("BG", "GR")), "BG/GR tiles", True),
        (Layout(3, ("RGGB",)), "RGGB tiles", False),
        (Layout(3, ("RG", "BG")), "RG/BG tiles", False),
        (Layout(4, ("RG", "GB")), "RG/GB tiles", False),
        (Layout(3, ("RRGG", "RRGG", "GGBB", "GGBB")), "RRGG/RRGG/GGBB/GGBB tiles", False),
        (Layout(3, ("GGRGGB", "GGBGGR", "BRGRBG", "GGBGGR", "GGRGGB", "RBGBRG")), "X-Trans", False),
        (Layout(1, ()), "monochrome", False),
        (Layout(3, ()), "3 colours at every pixel", False),
    ],
)
def test_bayer_takes_its_own_layout_only(layout: Layout, name: str, bayer: bool) -> None:
    assert name in str(layout)
    assert Bayer().takes(layout) == bayer
