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
from restore_hub.errors import DataError, ExportError
from restore_hub.export.darktable import export_darktable
from restore_hub.model import zoo
from restore_hub.model.sequence import load

BLACK, WHITE = 512, 16383
BALANCE = np.array([2.1, 1.0, 1.6])  # as shot, green 1


@pytest.fixture(scope="module")
def package(quiet: Path) -> Path:
    out = quiet.with_name("My Quiet.dtmodel")
    result = CliRunner().invoke(group, ["darktable", str(quiet), "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert result.output == f"wrote {out}, the model rawdenoise-my-quiet\n"
    return out


def test_the_package_is_laid_out_as_darktable_reads_it(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        config = json.loads(archive.read("rawdenoise-my-quiet/config.json"))
    (top,) = {name.split("/")[0] for name in names}  # becomes the folder of the model, and has to be its id
    assert names == [f"{top}/config.json", f"{top}/model_bayer.onnx"]
    assert config["id"] == top
    assert {key: config[key] for key in ("task", "backend", "num_inputs")} == {
        "task": "rawdenoise",
        "backend": "onnx",
        "num_inputs": 1,
    }
    assert "licence MIT" in config["description"]
    assert config["attributes"]["input_sizes"] == [512]
    bayer = config["attributes"]["model_bayer"]
    assert bayer["input_kind"] == "bayer_v1"
    assert bayer["bayer_orientation"] in ("force_rggb", "native")
    assert bayer["edge_pad"] in ("mirror_cropped", "mirror")
    assert bayer["wb_norm"] in ("daylight", "as_shot", "none")
    assert bayer["output_scale"] in ("match_gain", "absolute")


def test_a_tile_comes_back_as_the_file_itself_gives_it(package: Path, quiet: Path) -> None:
    """One tile by hand: levels to planes, the graph, and back to the levels of the sites, as darktable does."""
    with zipfile.ZipFile(package) as archive:
        graph = archive.read("rawdenoise-my-quiet/model_bayer.onnx")
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
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
    expected = load(quiet)({"mosaic": mosaic[None, None], "gain": gain, **levels})[0, 0]
    assert np.abs(expected - mosaic).max() > 10  # the weights do something
    np.testing.assert_allclose(back, expected, atol=0.1)
    assert (np.rint(back[100:104, 100:104]) == WHITE).all()


def test_a_black_tile_stays_finite(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        graph = archive.read("rawdenoise-my-quiet/model_bayer.onnx")
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    assert np.isfinite(session.run(None, {"input": np.zeros((1, 4, 512, 512), np.float32)})[0]).all()


def test_the_same_file_gives_the_same_package(package: Path, quiet: Path, tmp_path: Path) -> None:
    export_darktable(quiet, tmp_path / package.name)
    assert (tmp_path / package.name).read_bytes() == package.read_bytes()


def test_a_package_is_replaced_only_when_told(quiet: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.dtmodel"
    out.write_bytes(b"mine")
    with pytest.raises(ExportError, match="exists already; choose another name, or pass --overwrite"):
        export_darktable(quiet, out)
    assert out.read_bytes() == b"mine"
    export_darktable(quiet, out, overwrite=True)
    assert zipfile.is_zipfile(out)


def test_a_model_of_the_zoo_is_packed_by_its_name(
    package: Path, quiet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "zoo" / "quiet").mkdir(parents=True)
    (tmp_path / "zoo" / "quiet" / "model.onnx").symlink_to(quiet)
    monkeypatch.setattr(zoo, "zoo_folder", lambda: tmp_path / "zoo")
    export_darktable(Path("zoo:quiet"), tmp_path / package.name)
    assert (tmp_path / package.name).read_bytes() == package.read_bytes()


def test_what_darktable_cannot_use_is_refused(quiet: Path, models: Path, tmp_path: Path) -> None:
    for source, name, error, said in [
        (models / "chain.onnx", "a.dtmodel", ExportError, "raw-to-rgb, and darktable's raw denoise takes a mosaic"),
        (quiet, "a.zip", ExportError, r"end in \.dtmodel; write a\.dtmodel"),
        (quiet, "missing/a.dtmodel", DataError, "cannot be written"),
    ]:
        with pytest.raises(error, match=said):
            export_darktable(source, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
