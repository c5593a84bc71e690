"""Files that run one after the other: what fits, that nothing is lost in between, tiles and memory of each."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restore_hub import load, restore, restore_folder
from restore_hub.export.raw_input import RAW_INPUTS
from restore_hub.model import sequence, tiled
from restore_hub.model.graph import Graph
from restore_hub.model.manifest import Memory, TensorInfo
from restore_hub.model.model import Model, probe_feeds
from restore_hub.model.sequence import ModelSequence
from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.pictures import read_picture
from restore_hub.photo.raw.reader import read_raw
from restore_hub.runtime.journal import FOLDER, JOURNAL
from support import refused
from support.models import Write, join, watch_sizes, with_tiling

PICTURE = TensorInfo(name="p", shape=[1, 3, "height", "width"], space="srgb", low=0.0, high=1.0)
MAP = TensorInfo(name="m", shape=[1, 1, "height", "width"], low=0.0, high=1.0)


def _changed(info: TensorInfo, **changes: Any) -> TensorInfo:
    return info.model_copy(update=changes)


def test_one_takes_what_the_other_gives_unclipped(tmp_path: Path, write_model: Write) -> None:
    bright, dark = write_model(tmp_path / "a.onnx", factor=4.0), write_model(tmp_path / "b.onnx", factor=0.25)
    chain = load(join(bright, dark))
    assert isinstance(chain, ModelSequence)
    assert (chain.kind, chain.name, [info.name for info in chain.inputs]) == ("rgb-to-rgb", "t/a+t/b", ["image"])
    picture = np.random.default_rng(0).random((1, 3, 5, 7), dtype=np.float32)
    np.testing.assert_array_equal(chain({"image": picture}), picture)
    assert chain.verify() <= 1e-6
    assert (load(join(dark, dark, dark))({"image": np.ones((1, 3, 2, 2), np.float32)}) == 0.25**3).all()
    assert isinstance(load(bright), Model)


def test_a_loaded_model_runs_where_it_is(tmp_path: Path, write_model: Write) -> None:
    """Whoever asks for another device is told; nothing runs somewhere else in silence."""
    first, then = (load(write_model(tmp_path / name)) for name in ("a.onnx", "b.onnx"))
    assert sequence.as_sequence(first).models == sequence.as_sequence(first, "cpu").models == (first,)
    there = Model(Graph(then.path, then.graph.session, "cuda", then.graph.sha256), then.manifest)
    assert sequence.as_sequence(there).models[0].device == "cuda"
    for model in (there, ModelSequence([first, there])):
        with refused("model.other-device", "b.onnx", loaded="cuda", device="cpu"):
            restore(model, tmp_path / "a.png", tmp_path / "o.png", device="cpu")


def test_mosaics_keep_phase_levels_and_gain(tmp_path: Path, write_model: Write) -> None:
    """Either file adds the gain, and 10 for red in the second row."""
    denoise = write_model(tmp_path / "d.onnx", "raw-to-raw", factor=1.0)
    develop = write_model(tmp_path / "e.onnx", "raw-to-rgb", factor=1.0)
    enhance = write_model(tmp_path / "f.onnx", factor=2.0)
    chain = load(join(denoise, denoise, develop, enhance))
    assert chain.kind == "raw-to-rgb"
    feeds = {"mosaic": np.zeros((1, 1, 4, 4), np.float32), "gain": np.float32([3]), "phase": np.array([1, 0])}
    assert (chain(feeds) == 2 * 3 * 13).all()
    assert (chain({"mosaic": feeds["mosaic"]}) == 6).all()
    assert load(join(denoise, denoise)).kind == "raw-to-raw"


def test_tensors_where_they_fit(tmp_path: Path, write_model: Write) -> None:
    six = _changed(PICTURE, name="six", space="map", shape=[1, 6, "height", "width"])
    first = write_model(tmp_path / "a.onnx", "tensors", given=_changed(six, name="made"))
    then = write_model(tmp_path / "b.onnx", "tensors", taken=six, given=_changed(six, name="made"))
    assert load(join(first, then)).kind == "tensors"
    one = write_model(tmp_path / "c.onnx", "tensors", taken=MAP, given=PICTURE)
    enhance = write_model(tmp_path / "e.onnx")
    assert load(join(one, enhance)).kind == "tensors"
    with refused("restore.not-for-photographs", "c.onnx+", inputs="m", output="picture"):
        restore(join(one, enhance), tmp_path / "p.png", tmp_path / "o.png")


RAW_TENSORS = {"kind": "tensors", "given": _changed(RAW_INPUTS[0], name="r"), "taken": MAP}
MISFITS = [
    ({}, {"kind": "raw-to-rgb"}, ["sizes 1 x 3 x height x width against 1 x 1 x", "colour space srgb against raw"]),
    ({"kind": "raw-to-rgb"}, {"kind": "raw-to-raw"}, ["sizes", "colour space srgb against raw"]),
    ({"kind": "raw-to-raw"}, {}, ["sizes", "colour space raw against srgb"]),
    ({"given": _changed(PICTURE, space="linear")}, {}, ["colour space linear against srgb"]),
    ({"given": _changed(PICTURE, high=255.0)}, {}, ["range 0 to 255 against 0 to 1"]),
    ({"given": _changed(PICTURE, low=None)}, {}, ["range not stated to 1 against 0 to 1"]),
    (RAW_TENSORS, {"kind": "raw-to-rgb"}, "model.no-phase"),
    ({"kind": "raw-to-raw"}, {"kind": "tensors", "taken": RAW_INPUTS[0]}, "model.sensor-levels"),
]


@pytest.mark.parametrize(("first", "then", "expected"), MISFITS)
def test_files_that_do_not_fit(
    tmp_path: Path, write_model: Write, first: dict[str, Any], then: dict[str, Any], expected: str | list[str]
) -> None:
    one, two = write_model(tmp_path / "a.onnx", **first), write_model(tmp_path / "b.onnx", **then)
    code = expected if isinstance(expected, str) else "model.does-not-fit"
    with refused(code, f"{one} before {two}") as caught:
        load(join(one, two))
    if not isinstance(expected, str):
        facts = caught.value.facts
        given, taken = load(one).manifest.outputs[0].name, load(two).manifest.inputs[0].name
        assert (facts["given"], facts["taken"]) == (given, taken)
        differences = facts["differences"].split(", ")
        assert all(found.startswith(part) for found, part in zip(differences, expected, strict=True)), differences


def test_several_inputs_do_not_fit(tmp_path: Path, write_model: Write) -> None:
    model = load(write_model(tmp_path / "a.onnx"))
    other = _changed(PICTURE, name="other")
    for extra in (other, _changed(other, shape=[4])):
        two_in = model.with_manifest(model.manifest.model_copy(update={"inputs": [PICTURE, extra]}))
        with refused("model.several-inputs", "a.onnx", names="p, other", given="picture"):
            ModelSequence([model, two_in])


@pytest.fixture
def pair(tmp_path: Path, write_model: Write) -> tuple[Path, Path]:
    """Return a file for RAW and one that goes on from there."""
    return write_model(tmp_path / "a.onnx", "raw-to-rgb", factor=1e-4), write_model(tmp_path / "b.onnx", blur=True)


def test_restore_says_which_files_it_used(pair: tuple[Path, Path], tmp_path: Path, write_raw: Write) -> None:
    photo = write_raw(tmp_path / "p.dng")
    done = restore(join(*pair), photo, tmp_path / "o.png", gain=0.25, bits=16)
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in pair]
    named = [{"name": name, "sha256": sha256} for name, sha256 in zip(("t/a", "t/b"), hashes, strict=True)]
    assert done.record["models"] == named
    assert "model" not in done.record
    raw = read_raw(photo)
    expected = load(pair[1])({"image": load(pair[0])(
        {"mosaic": raw.mosaic[None, None].astype(np.float32), "gain": np.float32([0.25]), "phase": np.array(raw.phase)}
    )})  # fmt: skip
    np.testing.assert_allclose(read_picture(done.path).pixels, expected[0].transpose(1, 2, 0), atol=1e-5)
    again = restore(load(join(*pair)), photo, tmp_path / "p.png", gain=0.25, bits=16)
    assert again.path.read_bytes() == done.path.read_bytes()


def test_a_result_never_replaces_a_model(pair: tuple[Path, Path], tmp_path: Path, write_raw: Write) -> None:
    part = pair[1].rename(tmp_path / "b.png")
    before = part.read_bytes()
    with refused("restore.output-is-input", part):
        restore(join(pair[0], part), write_raw(tmp_path / "p.dng"), part, overwrite=True)
    assert part.read_bytes() == before


def test_a_new_model_restores_again(
    pair: tuple[Path, Path], tmp_path: Path, write_raw: Write, write_model: Write
) -> None:
    for seed in range(3):
        write_raw(tmp_path / "photos" / f"p{seed}.dng", seed)

    def states(source: str, out: str = "out") -> list[str]:
        done = restore_folder(source, tmp_path / "photos", tmp_path / out, gain=0.25, jobs=2)
        return [result.state for result in done.results]

    assert states(join(*pair)) == ["done"] * 3
    assert states(join(*pair)) == ["skipped"] * 3
    line = json.loads((tmp_path / "out" / FOLDER / JOURNAL).read_text().strip().splitlines()[0])
    assert line["made_from"]["model"] == [hashlib.sha256(path.read_bytes()).hexdigest() for path in pair]
    assert [model["sha256"] for model in line["facts"]["record"]["models"]] == line["made_from"]["model"]
    write_model(pair[1], factor=0.3)
    assert states(join(*pair)) == ["done"] * 3
    assert states(str(pair[0])) == ["done"] * 3


def test_pictures_go_through_two_files_to_a_dng(tmp_path: Path, write_model: Write) -> None:
    path = write_model(tmp_path / "a.onnx", factor=0.9)
    write_picture(tmp_path / "p.png", np.full((24, 26, 3), 0.5, np.float32))
    done = restore(join(path, path), tmp_path / "p.png", tmp_path / "o.dng")
    assert (done.height, done.width, done.bits) == (24, 26, 16)
    with refused("restore.option-for-raw", "gain", model=Path(join(path, path))):
        restore(join(path, path), tmp_path / "p.png", tmp_path / "q.png", gain=2)


def _chain(pair: tuple[Path, Path], *kinds: str, memories: Any = (None, None)) -> ModelSequence:
    parts = zip(pair, kinds, memories, strict=True)
    return ModelSequence([with_tiling(load(path), kind, memory) for path, kind, memory in parts])


def test_each_file_is_cut_by_its_own_rule(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    feeds = probe_feeds(RAW_INPUTS, 0, 30, 20, (1, 0))
    seen = watch_sizes(monkeypatch)
    exact = _chain(pair, "exact", "exact")
    whole, notes = sequence.run(exact, feeds, 0)
    assert (whole.shape, notes) == ((3, 30, 20), ())
    assert seen == [("a.onnx", (30, 20)), ("b.onnx", (30, 20))]
    cut, notes = sequence.run(exact, feeds, 16)
    assert notes == ()
    np.testing.assert_allclose(cut, whole, atol=1e-5)
    assert [name for name, _ in seen[2:]] == ["a.onnx"] * 4 + ["b.onnx"] * 4

    monkeypatch.setattr(tiled, "LARGE", 16)  # exact ones run in tiles from here on, others whole
    seen.clear()
    sequence.run(_chain(pair, "none", "exact"), feeds)
    assert seen[0] == ("a.onnx", (30, 20))
    assert [name for name, _ in seen[1:]] == ["b.onnx"] * 4


def test_inexact_and_missing_tiles_name_their_file(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    feeds, mixed = probe_feeds(RAW_INPUTS, 0, 30, 20), _chain(pair, "exact", "approximate")
    assert sequence.run(mixed, feeds, 16)[1] == ("b.onnx: ran in 4 tiles, which may differ from the whole by 0.01",)
    seen = watch_sizes(monkeypatch)
    with refused("model.no-tiles", "b.onnx") as caught:
        sequence.run(_chain(pair, "exact", "none"), feeds, 16)
    assert "2 pixels" in caught.value.facts["reason"]
    assert seen == [], "refused before any runs"


def test_the_memory_for_every_file_is_checked_first(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    feeds, pixels = probe_feeds(RAW_INPUTS, 0, 30, 20), 600
    little, much = Memory(base=1000, per_pixel=100), Memory(base=1000, per_pixel=200)
    enough = tiled.forecast(much, 30, 20, tiled.AROUND + tiled.WAITING)
    seen = watch_sizes(monkeypatch)
    for memories in ((little, much), (much, little)):
        chain = _chain(pair, "none", "none", memories=memories)
        monkeypatch.setattr(tiled, "available_memory", lambda: enough / tiled.NEARLY + 1)
        assert sequence.run(chain, feeds)[0].shape == (3, 30, 20)
        seen.clear()
        # Enough for the larger file by itself, and too little with a picture that waits between the two.
        monkeypatch.setattr(tiled, "available_memory", lambda: (enough - tiled.WAITING * pixels) / tiled.NEARLY + 1)
        with refused("model.too-large", "b.onnx" if memories[1] is much else "a.onnx"):
            sequence.run(chain, feeds)
        assert seen == []
