"""Merging: the new file gives what the files give one after the other, and describes itself."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.helper import make_function, make_graph, make_node, make_opsetid, make_tensor_value_info

from restore_hub.export import compose as compose_module
from restore_hub.export import deployed_block, export_onnx, gate
from restore_hub.export.merge import merge
from restore_hub.model.manifest import Quantisation, Speed, TensorInfo, Tiling
from restore_hub.model.model import probe_feeds
from restore_hub.model.sequence import load
from restore_hub.model.tiled import run
from restore_hub.plan import Chain
from support import refused
from support.commands import output
from support.models import Write, check_sound, join

PHASES = list(itertools.product((0, 1), (0, 1)))


@pytest.fixture(scope="module")
def parts(small_chain: Chain, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `generate.onnx` beside `enhance.onnx` and `chain.onnx`, all of the same weights."""
    folder = tmp_path_factory.mktemp("parts")
    facts = {"licence": "CC0-1.0", "metrics": {"psnr": 20.0}, "provenance": {"step": 7}}
    export_onnx(deployed_block(small_chain, "generate"), folder / "generate.onnx", name="t/generate", **facts)
    for name in ("enhance.onnx", "chain.onnx"):
        (folder / name).symlink_to(models / name)
    return folder


@pytest.fixture(scope="module")
def merged(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("merged") / "m.onnx"
    merge(join(parts / "generate.onnx", parts / "enhance.onnx"), out)
    return out


@pytest.mark.parametrize("phase", PHASES, ids=str)
@pytest.mark.parametrize("size", [(40, 33), (37, 52)], ids=str)
def test_parts_give_what_the_chain_gives(
    parts: Path, merged: Path, size: tuple[int, int], phase: tuple[int, int]
) -> None:
    """Bit for bit, including the border."""
    chain = load(parts / "chain.onnx")
    feeds = {**probe_feeds(chain.manifest.inputs, 5, *size, phase), "gain": np.float32([3])}
    feeds |= {"mosaic": feeds["mosaic"] * 900 + 64, "black": np.full(4, 64, np.float32)}
    feeds |= {"white": np.full(4, 1023, np.float32), "balance": np.float32([2, 1, 1, 1.5])}
    separate = load(join(parts / "generate.onnx", parts / "enhance.onnx"))(feeds)
    np.testing.assert_array_equal(separate, chain(feeds))
    assert separate.std() > 1e-3
    session = onnxruntime.InferenceSession(merged, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, feeds)[0], separate, atol=1e-6)


def test_the_merged_file_describes_itself(parts: Path, merged: Path) -> None:
    model = load(merged)
    manifest, paths = model.manifest, [parts / "generate.onnx", parts / "enhance.onnx"]
    before = [load(path).manifest for path in paths]
    assert (manifest.name, manifest.kind, manifest.size_multiple) == ("t/generate+t/enhance", "raw-to-rgb", 4)
    assert manifest.inputs == before[0].inputs
    assert manifest.outputs == before[1].outputs
    assert manifest.licence == "CC0-1.0 (t/generate); not stated (t/enhance)"
    assert manifest.metrics == {}
    assert [part["sha256"] for part in manifest.provenance["merged"]] == [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    ]
    assert [part["provenance"] for part in manifest.provenance["merged"]] == [model.provenance for model in before]
    assert before[0].provenance["step"] == 7
    assert 0 <= manifest.parity <= 1e-4
    check_sound(merged)
    onnx.checker.check_model(onnx.load(merged), full_check=True)
    defaults = {t.name for t in onnx.load(merged).graph.initializer} & {tensor.name for tensor in manifest.inputs}
    assert defaults == {"phase", "black", "white", "balance", "gain"}


def test_a_part_in_int8_is_named(tmp_path: Path, write_model: Write) -> None:
    speed = Speed(ratio=0.5, threads=1, height=8, width=9)
    facts = {"scheme": "x", "convolutions": (2, 3), "calibration": 4, "measured": 5, "worst_loss": 0.2, "budget": 0.5}
    record = Quantisation(**facts, psnr_loss=0.1, speed=[speed])
    first, small = write_model(tmp_path / "a.onnx"), write_model(tmp_path / "b.onnx", quantisation=record, version=2)
    merged = merge(join(first, small), tmp_path / "m.onnx")
    assert (merged.version, merged.quantisation) == (1, None)
    assert "quantisation" not in merged.provenance["merged"][0]
    assert Quantisation.model_validate(merged.provenance["merged"][1]["quantisation"]) == record
    merge(join(tmp_path / "m.onnx", small), tmp_path / "n.onnx")
    for name, parts in (("a", []), ("b", [""]), ("m", ["part t/b: "]), ("n", ["part t/b: "] * 2)):
        found = [line for line in output("inspect", tmp_path / f"{name}.onnx").splitlines() if "int8" in line]
        assert found == [f"{part}{record.describe()}" for part in parts]
    odd = merged.model_copy(update={"provenance": {"merged": [1, {"quantisation": {"budget": 1}, "provenance": []}]}})
    assert odd.int8_notes() == []


def test_the_whole_has_the_largest_tolerance_of_its_parts(tmp_path: Path, write_model: Write) -> None:
    strict, small = write_model(tmp_path / "a.onnx"), write_model(tmp_path / "b.onnx")
    model, manifest = onnx.load(small), load(small).manifest
    tolerant = manifest.model_copy(update={"probe": manifest.probe.model_copy(update={"tolerance": 1e-3})})
    gate.save(model, tolerant, small)
    assert merge(join(strict, small), tmp_path / "m.onnx").probe.tolerance == 1e-3
    assert merge(join(strict, strict), tmp_path / "n.onnx").probe.tolerance == 1e-4


def test_margins_of_exact_parts_add_up_and_hold(parts: Path, merged: Path) -> None:
    model = load(merged)
    tilings = [load(parts / name).manifest.tiling for name in ("generate.onnx", "enhance.onnx")]
    tiling = model.manifest.tiling
    assert tiling.kind == "exact"
    assert tiling.margin >= sum(part.margin for part in tilings)
    assert tiling.margin % tiling.align == 0
    for phase in PHASES[1:3]:
        feeds = probe_feeds(model.manifest.inputs, 1, 131, 97, phase)
        whole, cut = (run(model, feeds, tile)[0] for tile in (0, 24))
        assert np.abs(whole - cut).max() <= 1e-4


@pytest.mark.usefixtures("measured_memory")
def test_three_at_once_with_mosaics_first(tmp_path: Path, write_model: Write) -> None:
    denoise = write_model(tmp_path / "d.onnx", "raw-to-raw", factor=0.9, blur=True)
    develop = write_model(tmp_path / "e.onnx", "raw-to-rgb", factor=0.5)
    enhance = write_model(tmp_path / "f.onnx", factor=0.25, blur=True)
    source = join(denoise, develop, enhance)
    manifest = merge(source, tmp_path / "m.onnx")
    assert (manifest.kind, manifest.licence) == ("raw-to-rgb", "CC0-1.0")
    assert [tensor.name for tensor in manifest.inputs] == ["mosaic", "phase", "black", "white", "balance", "gain"]
    assert (manifest.tiling.kind, manifest.tiling.margin) == ("exact", 4)
    assert manifest.memory.per_pixel > 16
    check_sound(tmp_path / "m.onnx")
    chain, one = load(source), load(tmp_path / "m.onnx")
    for phase in PHASES:
        feeds = {**probe_feeds(manifest.inputs, 0, 9, 12, phase), "gain": np.float32([0.3])}
        np.testing.assert_allclose(one(feeds), chain(feeds), atol=1e-5)
    assert one.manifest == manifest
    again = merge(join(tmp_path / "m.onnx", enhance), tmp_path / "n.onnx")
    assert [len(again.provenance["merged"]), len(again.provenance["merged"][0]["provenance"]["merged"])] == [2, 3]


def test_mosaics_to_a_mosaic(tmp_path: Path, write_model: Write) -> None:
    denoise = write_model(tmp_path / "d.onnx", "raw-to-raw", factor=0.9)
    manifest = merge(join(denoise, denoise), tmp_path / "m.onnx")
    assert (manifest.kind, manifest.outputs[0].name) == ("raw-to-raw", "denoised")
    check_sound(tmp_path / "m.onnx")


def _picture(name: str) -> TensorInfo:
    return TensorInfo(name=name, shape=[1, 3, "height", "width"], space="srgb", low=0.0, high=1.0)


@pytest.mark.parametrize("names", [("image", "picture"), ("x", "weight2"), ("2/x", "1/y"), ("picture", "image")])
def test_names_that_collide(tmp_path: Path, write_model: Write, names: tuple[str, str]) -> None:
    """Both files use the same inner names, and the second gives what the first takes."""
    first = write_model(tmp_path / "a.onnx", factor=0.5, taken=_picture(names[0] + "0"), given=_picture(names[1]))
    then = write_model(tmp_path / "b.onnx", factor=0.5, taken=_picture(names[1]), given=_picture(names[0] + "0"))
    manifest = merge(join(first, then, first, then), tmp_path / "m.onnx")
    assert [tensor.name for tensor in (*manifest.inputs, *manifest.outputs)] == [f"{names[0]}0", f"{names[0]}0_out"]
    ones = np.ones((1, 3, 4, 4), np.float32)
    assert (load(tmp_path / "m.onnx")({f"{names[0]}0": ones}) == 0.0625).all()


def test_parts_of_other_opset_and_ir_versions(tmp_path: Path, write_model: Write) -> None:
    old = write_model(tmp_path / "a.onnx", "raw-to-rgb", opset=17, ir_version=8)
    new = write_model(tmp_path / "b.onnx", opset=20, ir_version=10)
    for name, source in (("c.onnx", join(old, new)), ("d.onnx", join(old, new, new))):
        assert merge(source, tmp_path / name).opset == 20
        written = onnx.load(tmp_path / name)
        assert ([entry.version for entry in written.opset_import], written.ir_version) == ([20], 10)
        check_sound(tmp_path / name)


def _edited(path: Path, edit: Callable[[onnx.ModelProto], None]) -> Path:
    model = onnx.load(path)
    edit(model)
    onnx.save(model, path)
    return path


def test_operator_sets_that_do_not_fit(tmp_path: Path, write_model: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = write_model(tmp_path / "a.onnx", opset=17), write_model(tmp_path / "b.onnx")

    def fail(*_: object) -> None:
        raise RuntimeError("no adapter for Foo")

    with monkeypatch.context() as patch:
        patch.setattr(compose_module.version_converter, "convert_version", fail)
        with refused("export.opset-conversion", "a.onnx", opset=17, target=20) as caught:
            merge(join(new, old), tmp_path / "m.onnx")
    assert "no adapter for Foo" in str(caught.value)
    for path, version in ((old, 1), (new, 2)):
        _edited(path, lambda model, version=version: model.opset_import.append(make_opsetid("ai.onnx.ml", version)))
    with refused("export.opsets-differ", new, domain="ai.onnx.ml", other=old, other_version=1, version=2):
        merge(join(old, new), tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def _with_function(model: onnx.ModelProto) -> None:
    """Replace Identity by a function that the file defines."""
    body = [make_node("Mul", ["v", "v"], ["w"]), make_node("Sqrt", ["w"], ["u"])]
    model.functions.append(make_function("own", "Same", ["v"], ["u"], body, [make_opsetid("", 20)]))
    model.opset_import.append(make_opsetid("own", 1))
    node = next(node for node in model.graph.node if node.op_type == "Identity")
    node.op_type, node.domain = "Same", "own"


def _with_branches(model: onnx.ModelProto) -> None:
    """Replace Identity by an If whose branches read values from outside."""
    value = make_tensor_value_info("z", onnx.TensorProto.FLOAT, None)
    branches = {
        name: make_graph([make_node(op, ["x", "x"], ["z"], name=name)], name, [], [value])
        for name, op in (("then_branch", "Max"), ("else_branch", "Sub"))
    }
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
    place = next(place for place, node in enumerate(model.graph.node) if node.op_type == "Identity")
    model.graph.node[place].CopyFrom(make_node("If", ["yes"], ["y"], **branches))


@pytest.mark.parametrize("edit", [_with_function, _with_branches])
def test_functions_and_inner_graphs(
    tmp_path: Path, write_model: Write, edit: Callable[[onnx.ModelProto], None]
) -> None:
    path = _edited(write_model(tmp_path / "a.onnx"), edit)
    manifest = merge(join(path, path), tmp_path / "m.onnx")
    assert manifest.parity <= 1e-6
    ones = np.ones((1, 3, 4, 4), np.float32)
    np.testing.assert_allclose(load(tmp_path / "m.onnx")({"image": ones}), 0.25 * ones)
    check_sound(tmp_path / "m.onnx")


def test_the_tiling_of_a_merged_file(tmp_path: Path, write_model: Write) -> None:
    def tiling(first: Tiling, then: Tiling) -> Tiling:
        one = write_model(tmp_path / "a.onnx", blur=True, tiling=first)
        two = write_model(tmp_path / "b.onnx", blur=True, tiling=then)
        return merge(join(one, two), tmp_path / "m.onnx", overwrite=True).tiling

    exact = Tiling(kind="exact", margin=2, align=2)
    assert tiling(exact, exact.model_copy(update={"margin": 4, "align": 4})).margin == 8
    assert tiling(exact, Tiling(kind="none")).kind == "none"
    about = Tiling(kind="approximate", margin=2, align=2, error=0.01)
    assert tiling(about, exact).kind == "approximate"
    wrong = tiling(exact.model_copy(update={"margin": 0}), exact.model_copy(update={"margin": 0}))
    assert wrong.kind == "none" or (wrong.kind == "approximate" and wrong.error > 1e-3)


def test_a_file_unlike_its_parts_is_refused(
    tmp_path: Path, write_model: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, then = write_model(tmp_path / "a.onnx"), write_model(tmp_path / "b.onnx")
    real = compose_module._rename

    def altered(graph: onnx.GraphProto, *rest: object) -> None:
        real(graph, *rest)  # type: ignore[arg-type]
        weight = next(tensor for tensor in graph.initializer if tensor.name.endswith("weight"))
        values = onnx.numpy_helper.to_array(weight) + np.float32(0.01)
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))

    monkeypatch.setattr(compose_module, "_rename", altered)
    with refused("export.differs", "m.onnx", reference="its parts"):
        merge(join(first, then), tmp_path / "m.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_existing_files_stay(tmp_path: Path, write_model: Write) -> None:
    first, then = write_model(tmp_path / "a.onnx"), write_model(tmp_path / "b.onnx", factor=0.25)
    source, out = join(first, then), tmp_path / "m.onnx"
    (tmp_path / "link.onnx").symlink_to(first)
    for part in (first, then, tmp_path / "link.onnx"):
        with refused("export.is-a-source", part):
            merge(source, part, overwrite=True)
    out.write_text("mine")
    with refused("export.exists", out):
        merge(source, out)
    assert out.read_text() == "mine"
    assert merge(source, out, overwrite=True) == load(out).manifest
    (tmp_path / "d.onnx").mkdir()
    for code, given, name in (
        ("export.exists", source, "d.onnx"),
        ("export.wrong-suffix", source, "m.png"),
        ("export.cannot-write", source, "none/m.onnx"),
        ("export.nothing-to-merge", first, "n.onnx"),
    ):
        with refused(code, first if given == first else name):
            merge(given, tmp_path / name, overwrite=True)


def test_parts_that_do_not_fit(tmp_path: Path, write_model: Write) -> None:
    raw, picture = write_model(tmp_path / "a.onnx", "raw-to-rgb"), write_model(tmp_path / "b.onnx")
    with refused("model.does-not-fit", f"{picture} before {raw}"):
        merge(join(picture, raw), tmp_path / "m.onnx")
    denoise = write_model(tmp_path / "d.onnx", "raw-to-raw")
    other = write_model(tmp_path / "e.onnx", "raw-to-rgb")
    gain = onnx.numpy_helper.from_array(np.float32([2]), "gain")
    _edited(other, lambda model: next(t for t in model.graph.initializer if t.name == "gain").CopyFrom(gain))
    doubled = {"gain": {"default": [2.0]}}
    inputs = [info.model_copy(update=doubled.get(info.name)) for info in load(raw).manifest.inputs]
    text = load(other).manifest.model_copy(update={"inputs": inputs}).model_dump_json(exclude_none=True)
    _edited(other, lambda model: onnx.helper.set_model_props(model, {"restore_hub.manifest": text}))
    with refused("export.defaults-differ", "e.onnx", input="gain", default=[2.0], expected=[1.0]):
        merge(join(denoise, other), tmp_path / "m.onnx")
