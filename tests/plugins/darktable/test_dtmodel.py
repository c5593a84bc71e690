"""A package for darktable: read back as darktable 5.6 reads it, and run on tiles as it makes them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner

from restore_hub.cli import group
from restore_hub.export.pack import pack
from restore_hub.model import zoo
from restore_hub.model.sequence import load
from restore_hub_darktable import bayer_graph
from restore_hub_darktable.dtmodel import DtModel
from support import refused
from support.fresh import fresh_python
from support.numbers import Export, blocks_of

BLACK, WHITE = 512, 16383
BALANCE = np.array([2.1, 1.0, 1.6])  # as shot, green 1


@pytest.fixture(scope="module")
def package(denoiser: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("package") / "My Quiet.dtmodel"
    result = CliRunner().invoke(group, ["export", str(denoiser), "--to", "darktable/dtmodel", "-o", str(out)])
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def session(package: Path) -> onnxruntime.InferenceSession:
    with zipfile.ZipFile(package) as archive:
        graph = archive.read("rawdenoise-my-quiet/model_bayer.onnx")
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def test_the_package_has_the_layout_that_darktable_reads(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        config = json.loads(archive.read("rawdenoise-my-quiet/config.json"))
    (top,) = {name.split("/")[0] for name in names}  # becomes the model's folder, and must be its id
    assert names == [f"{top}/config.json", f"{top}/model_bayer.onnx"]
    assert config["id"] == top
    assert (config["task"], config["backend"], config["num_inputs"]) == ("rawdenoise", "onnx", 1)
    assert "licence MIT" in config["description"]
    assert config["attributes"]["input_sizes"] == [512]
    bayer = config["attributes"]["model_bayer"]
    assert bayer["input_kind"] == "bayer_v1"
    assert bayer["bayer_orientation"] in ("force_rggb", "native")
    assert bayer["edge_pad"] in ("mirror_cropped", "mirror")
    assert bayer["wb_norm"] in ("daylight", "as_shot", "none")
    assert bayer["output_scale"] in ("match_gain", "absolute")


def test_a_tile_gives_what_the_file_gives(session: onnxruntime.InferenceSession, denoiser: Path) -> None:
    """One tile by hand: levels to planes, the graph, and back to the levels of the sites, as darktable does."""
    assert [(entry.name, entry.shape, entry.type) for entry in session.get_inputs()] == [
        ("input", [1, 4, 512, 512], "tensor(float)")
    ]
    assert [(entry.name, entry.shape) for entry in session.get_outputs()] == [("output", [1, 3, 1024, 1024])]
    mosaic = np.random.default_rng(1).integers(600, 1500, (1024, 1024)).astype(np.float32)
    mosaic[100:104, 100:104] = WHITE
    sites = [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)]  # row, column, colour
    planes = np.stack([(mosaic[y::2, x::2] - BLACK) / (WHITE - BLACK) * BALANCE[c] for y, x, c in sites])
    colours = session.run(None, {"input": planes[None].astype(np.float32)})[0][0]
    back = np.empty_like(mosaic)
    for y, x, c in sites:
        back[y::2, x::2] = colours[c][y::2, x::2] / BALANCE[c] * (WHITE - BLACK) + BLACK
    four = np.float32([BALANCE[c] for _, _, c in sites])
    levels = {"black": np.full(4, BLACK, np.float32), "white": np.full(4, WHITE, np.float32), "balance": four}
    gain = np.float32([0.18 / planes[1:3].mean()])
    expected = load(denoiser)({"mosaic": mosaic[None, None], "gain": gain, **levels})[0, 0]
    assert np.abs(expected - mosaic).max() > 10  # the weights do something
    np.testing.assert_allclose(back, expected, atol=0.1)
    assert (np.rint(back[100:104, 100:104]) == WHITE).all()
    assert np.isfinite(session.run(None, {"input": np.zeros((1, 4, 512, 512), np.float32)})[0]).all()


def test_the_same_model_gives_the_same_package_also_from_the_zoo(
    package: Path, denoiser: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "zoo" / "quiet").mkdir(parents=True)
    (tmp_path / "zoo" / "quiet" / "model.onnx").symlink_to(denoiser)
    monkeypatch.setattr(zoo, "zoo_folder", lambda: tmp_path / "zoo")
    for source in (denoiser, "zoo:quiet"):
        pack(source, DtModel(), tmp_path / package.name, overwrite=True)
        assert (tmp_path / package.name).read_bytes() == package.read_bytes()


def test_the_tile_is_an_option(denoiser: Path, tmp_path: Path) -> None:
    command = ["export", str(denoiser), "--to", "darktable/dtmodel", "-o", str(tmp_path / "a.dtmodel")]
    assert CliRunner().invoke(group, [*command, "--set", "tile=64"]).exit_code == 0
    with zipfile.ZipFile(tmp_path / "a.dtmodel") as archive:
        assert json.loads(archive.read("rawdenoise-a/config.json"))["attributes"]["input_sizes"] == [64]
    with refused("darktable.bad-tile", "tile", got=1):
        DtModel(tile=1)


def test_other_kinds_of_file_and_graphs_that_give_other_values_are_refused(
    models: Path, denoiser: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refused("darktable.needs-mosaics", "chain.onnx", does="raw-to-rgb"):
        DtModel().pack(models / "chain.onnx", "a")
    monkeypatch.setattr(bayer_graph, "_COLOURS", [1] * 12)
    with refused("darktable.not-the-same", denoiser):
        DtModel(tile=16).pack(denoiser, "a")


def test_packing_needs_no_torch_and_says_when_onnx_is_missing(denoiser: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update({name: None for name in sys.argv[1].split()})\n"
        "from restore_hub.cli import main; main(sys.argv[2:])"
    )
    command = ["export", str(denoiser), "--to", "darktable/dtmodel", "-o", str(tmp_path / "a.dtmodel")]
    fresh_python(code, "torch torchvision", *command)
    assert "pip install onnx" in fresh_python(code, "torch onnx", *command, "--overwrite", status=2).stderr


@pytest.mark.parametrize("level", ["data.level", "0.25"])
def test_numbers_need_a_default(export: Export, level: str) -> None:
    block = f"clean: {{network: kinds/planes, inputs: {{raw: data.raw, level: {level}}}, outputs: [quiet]}}"
    path = export("quiet.onnx", blocks_of(block), tensor="quiet")
    if level == "0.25":
        pack(path, DtModel(64), path.with_suffix(".dtmodel"))
        return
    with refused("darktable.needs-defaults", path, numbers="level"):
        pack(path, DtModel(64), path.with_suffix(".dtmodel"))
