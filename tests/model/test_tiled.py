"""When a picture runs whole and when in tiles, by its size, the file, and the memory that is free."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from restore_hub.cli import group
from restore_hub.export import deployed_chain, export_onnx
from restore_hub.model import graph, tiled
from restore_hub.model.manifest import Memory, Tiling
from restore_hub.model.model import Model, probe_feeds
from restore_hub.model.sequence import load
from restore_hub.model.session import open_session
from restore_hub.model.tiled import Arrays
from restore_hub.photo.raw.dng_writer import write_dng
from restore_hub.photo.raw.reader import read_raw
from restore_hub.plan import build_chain
from support import refused
from support.models import Make, Write, watch_sizes, with_tiling


@pytest.fixture
def model(models: Path) -> Model:
    return load(models / "chain.onnx")


def sizes(model: Model, monkeypatch: pytest.MonkeyPatch, tile: int | None = None) -> list[tuple[int, int]]:
    """Return the sizes of what ran of a picture of 150 x 130."""
    seen = watch_sizes(monkeypatch)
    tiled.run(model, probe_feeds(model.manifest.inputs, 0, 150, 130), tile)
    return [size for _, size in seen]


def about(model: Model, kind: str) -> Model:
    return with_tiling(model, kind, Memory(base=1_000_000, per_pixel=100), margin=8, align=4)


def test_a_large_picture_runs_in_tiles_where_these_are_exact(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sizes(about(model, "exact"), monkeypatch) == [(150, 130)]
    monkeypatch.setattr(tiled, "LARGE", 64)
    ran = sizes(about(model, "exact"), monkeypatch)
    assert len(ran) == 9
    assert max(ran) <= (80, 80)
    for kind in ("approximate", "none"):
        assert sizes(about(model, kind), monkeypatch) == [(150, 130)]


def test_scarce_memory_means_smaller_tiles_or_an_error(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = 150 * 130
    free = (1_000_000 + tiled.AROUND * pixels + 200.0 * 60 * 60) / tiled.NEARLY  # a tile of 60 x 60, arena included
    monkeypatch.setattr(tiled, "available_memory", lambda: free)
    for kind in ("exact", "approximate"):
        ran = sizes(about(model, kind), monkeypatch)
        assert max(ran) <= (60, 60)
        assert len(ran) == 12
    feeds = probe_feeds(model.manifest.inputs, 0, 150, 130)
    assert tiled.run(about(model, "approximate"), feeds)[1] == (
        "ran in 12 tiles, which may differ from the whole by 0.01",
    )
    with refused("model.too-large", "chain.onnx", width=130, height=150):
        tiled.run(about(model, "none"), feeds)
    monkeypatch.setattr(tiled, "available_memory", lambda: 1_500_000)
    with refused("model.too-large-for-tiles", "chain.onnx"):
        tiled.run(about(model, "exact"), feeds)


def test_the_side_of_tiles_can_be_set(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(sizes(about(model, "exact"), monkeypatch, tile=75)) == 4
    for tile in (0, 150):
        assert sizes(about(model, "none"), monkeypatch, tile=tile) == [(150, 130)]
    with refused("model.no-tiles", "chain.onnx"):
        sizes(about(model, "none"), monkeypatch, tile=149)


def test_a_file_without_a_record_of_its_memory_still_runs(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiled, "available_memory", lambda: 1)
    silent = with_tiling(model, "none", None)
    assert sizes(silent, monkeypatch) == [(150, 130)]


@pytest.fixture
def large(write_model: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Model, Arrays]:
    """Return a loaded file that halves a picture, and a picture that counts as large."""
    monkeypatch.setattr(tiled, "LARGE", 16)
    loaded = load(write_model(tmp_path / "m.onnx", tiling=Tiling(kind="none"), memory=Memory(base=1000, per_pixel=100)))
    return loaded, {"image": np.ones((1, 3, 40, 30), np.float32)}


def test_a_large_picture_runs_in_a_second_session(large: tuple[Model, Arrays], monkeypatch: pytest.MonkeyPatch) -> None:
    model, feeds = large
    opened: list[bool] = []

    def watched(*given: Any, arena: bool) -> Any:
        opened.append(arena)
        return open_session(*given, arena=arena)

    monkeypatch.setattr(graph, "open_session", watched)
    small = {"image": feeds["image"][..., :16, :16]}
    tiled.run(model, small)
    assert opened == [], "not before it's needed"
    for again in (model, model.with_manifest(model.manifest)):
        assert (tiled.run(again, feeds)[0] == 0.5).all()
    assert opened == [False]
    second = model.graph.frugal_session()
    assert not second.get_session_options().enable_cpu_mem_arena
    assert model.graph.session.get_session_options().enable_cpu_mem_arena


@pytest.mark.parametrize("moment", ["before", "while", "gone"])
def test_a_file_replaced_after_loading_never_runs(
    large: tuple[Model, Arrays], write_model: Write, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The loaded weights run instead, and the forecast counts the memory that their session keeps."""
    model, feeds = large

    def replaced_first(path: Path, *given: Any, **how: Any) -> Any:
        write_model(path, factor=0.25)
        return open_session(path, *given, **how)

    if moment == "before":
        write_model(model.path, factor=0.25)
    elif moment == "while":  # between the check of the hash and the reading
        monkeypatch.setattr(graph, "open_session", replaced_first)
    else:
        model.path.unlink()
    assert (tiled.run(model, feeds)[0] == 0.5).all()
    assert model.graph.frugal_session() is None
    memory = model.manifest.memory
    monkeypatch.setattr(tiled, "available_memory", lambda: tiled.forecast(memory, 40, 30) / tiled.NEARLY + 1)
    with refused("model.too-large", "m.onnx"):
        tiled.run(model, feeds)


def test_a_file_replaced_while_loaded(write_model: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its manifest would be that of other weights."""
    path = write_model(tmp_path / "m.onnx")

    def replaced_first(*given: Any, **how: Any) -> Any:
        write_model(path, factor=0.25)
        return open_session(*given, **how)

    monkeypatch.setattr(graph, "open_session", replaced_first)
    with refused("model.changed", path):
        load(path)


def test_the_command_restores_the_same_in_tiles(model: Model, pairs: Path, tmp_path: Path) -> None:
    (photo, *_) = sorted((pairs / "holdout" / "short").glob("*.dng"))
    for tile in ("0", "16"):
        arguments = ["restore", str(model.path), str(photo), "-o", str(tmp_path / f"{tile}.png"), "--tile", tile]
        assert CliRunner().invoke(group, arguments).exit_code == 0
    assert (tmp_path / "0.png").read_bytes() == (tmp_path / "16.png").read_bytes()


@pytest.mark.long
@pytest.mark.usefixtures("measured_memory")
@pytest.mark.parametrize("tile", [None, 0])
def test_24_megapixels_keep_the_forecast(make: Make, pairs: Path, tmp_path: Path, tile: int | None) -> None:
    """The peak of a process that does nothing else, against the forecast from the manifest."""
    module = deployed_chain(build_chain(make("blocks.generate.width=16", "blocks.generate.depth=3")).eval(), "enhanced")
    export_onnx(module, tmp_path / "c.onnx", name="t", licence=None, metrics={}, provenance={})
    (photo, *_) = sorted((pairs / "holdout" / "short").glob("*.dng"))
    raw = read_raw(photo)
    height, width = raw.mosaic.shape
    large_mosaic = np.tile(raw.mosaic, (4000 // height + 1, 6000 // width + 1))[:4000, :6000].copy()
    raw = replace(raw, mosaic=large_mosaic)
    write_dng(tmp_path / "big.dng", raw, {})
    paths = [str(tmp_path / name) for name in ("c.onnx", "big.dng", "o.png")]
    code = (
        "from restore_hub import restore; from restore_hub.machine import peak_memory;"
        f"restore(*{paths}, tile={tile}); print(peak_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    forecast = tiled.forecast(load(tmp_path / "c.onnx").manifest.memory, 4000, 6000)
    print(f"tile {tile}: {int(done.stdout) / 2**20:.0f} MiB, forecast for the whole {forecast / 2**20:.0f} MiB")
    assert int(done.stdout) <= forecast
