"""Photographs through exported files, without torch; and one clear error for everything that cannot be."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from restore_hub import load, restore
from restore_hub.errors import DataError, ModelFileError
from restore_hub.export import deployed_block, deployed_chain, export_onnx
from restore_hub.plan import build_chain, make_plan
from restore_hub.plugins import default_registry
from restore_hub.runtime.dng import write_dng
from restore_hub.runtime.images import orient, read_picture, write_picture
from restore_hub.runtime.manifest import Manifest, parse_manifest
from restore_hub.runtime.mosaic import RawImage
from restore_hub.spec import read_spec

PIPELINE = Path(__file__).resolve().parents[2] / "pipelines" / "raw_lowlight.yaml"
CAMERA = np.array([[0.7034, -0.0804, -0.1014], [-0.442, 1.2564, 0.2058], [-0.0851, 0.1994, 0.5758]])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `chain.onnx` (RAW in) and `enhance.onnx` (RGB in)."""
    torch.manual_seed(1)
    plan = make_plan(read_spec(PIPELINE, ["blocks.generate.width=2", "blocks.generate.depth=1"]), default_registry())
    chain = build_chain(plan).eval()
    folder = tmp_path_factory.mktemp("files")
    facts = {"name": "t", "licence": None, "metrics": {}, "provenance": {}}
    export_onnx(deployed_chain(chain, "enhanced"), folder / "chain.onnx", **facts)
    export_onnx(deployed_block(chain, "enhance"), folder / "enhance.onnx", **facts)
    return folder


def _dng(path: Path, orientation: int = 1, **metadata: float | None) -> Path:
    mosaic = np.random.default_rng(0).integers(600, 1200, (26, 34)).astype(np.uint16)
    black, white, balance = np.float32([512] * 4), np.float32([16383] * 4), np.float32([2, 1, 1, 1.5])
    raw = RawImage(mosaic, (0, 1), black, white, balance, "camera", orientation, camera_from_xyz=CAMERA)
    write_dng(path, replace(raw, exposure_time=0.1, gain=metadata.get("gain"), camera="Test"))
    return path


def test_gain_comes_from_the_command_else_the_file_else_a_rule(files: Path, tmp_path: Path) -> None:
    given = restore(files / "chain.onnx", _dng(tmp_path / "a.dng", gain=8.0), tmp_path / "1.png", gain=7.0)
    of_file = restore(files / "chain.onnx", tmp_path / "a.dng", tmp_path / "2.png")
    by_rule = restore(files / "chain.onnx", _dng(tmp_path / "b.dng"), tmp_path / "3.png")
    assert given.notes[0] == "gain 7 (given)"
    assert of_file.notes[0].startswith("gain 8 ")
    assert "metadata" in of_file.notes[0]
    assert "0.18" in by_rule.notes[0]
    assert "white balance red 2, blue 1.5" in of_file.notes[1]


def test_the_picture_is_turned_upright(files: Path, tmp_path: Path) -> None:
    plain = restore(files / "chain.onnx", _dng(tmp_path / "a.dng", gain=8.0), tmp_path / "a.png")
    turned = restore(files / "chain.onnx", _dng(tmp_path / "b.dng", orientation=6, gain=8.0), tmp_path / "b.png")
    assert (plain.height, plain.width) == (26, 34)
    assert (turned.height, turned.width) == (34, 26)
    expected = orient(read_picture(plain.path).pixels, 6)
    assert np.array_equal(read_picture(turned.path).pixels, expected)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_rgb_in_rgb_out(files: Path, tmp_path: Path, suffix: str, bits: int) -> None:
    photo = np.random.default_rng(0).random((9, 7, 3), dtype=np.float32)
    write_picture(tmp_path / "in.png", photo, bits=16)
    done = restore(files / "enhance.onnx", tmp_path / "in.png", tmp_path / f"out.{suffix}", bits=bits)
    model = load(files / "enhance.onnx")
    tensor = np.round(photo * 65535).astype(np.float32).transpose(2, 0, 1)[None] / 65535
    expected = np.clip(model({"rgb": np.ascontiguousarray(tensor)})[0].transpose(1, 2, 0), 0, 1)
    np.testing.assert_allclose(read_picture(done.path).pixels, expected, atol=0.51 / (2**bits - 1) + 1e-6)
    assert read_picture(done.path).bits == bits


def test_nothing_is_overwritten_unasked(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.png"
    out.write_bytes(b"mine")
    with pytest.raises(DataError, match="exists already; choose another name, or pass --overwrite"):
        restore(files / "chain.onnx", _dng(tmp_path / "a.dng"), out)
    assert out.read_bytes() == b"mine"
    restore(files / "chain.onnx", tmp_path / "a.dng", out, overwrite=True)
    assert out.read_bytes()[:4] == b"\x89PNG"


def test_wrong_pairings_are_one_error(files: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "p.png", np.zeros((4, 4, 3), np.float32))
    dng = _dng(tmp_path / "a.dng")
    with pytest.raises(DataError, match=r"takes RAW files and .*p\.png is an ordinary picture"):
        restore(files / "chain.onnx", tmp_path / "p.png", tmp_path / "o.png")
    with pytest.raises(DataError, match=r"takes PNG, TIFF or JPEG, not a\.dng"):
        restore(files / "enhance.onnx", dng, tmp_path / "o.png")
    for gain in (-1.0, 0.0, 1.1e6, float("inf"), float("nan")):
        with pytest.raises(DataError, match=rf"the gain {gain:g} is not".replace("+", r"\+")):
            restore(files / "chain.onnx", dng, tmp_path / "o.png", gain=gain)
    with pytest.raises(DataError, match="no exposure gain applies"):
        restore(files / "enhance.onnx", tmp_path / "p.png", tmp_path / "o.png", gain=2.0)
    (tmp_path / "notes.dng").write_text("hello\n")
    with pytest.raises(DataError, match=r"notes\.dng: no RAW file"):
        restore(files / "chain.onnx", tmp_path / "notes.dng", tmp_path / "o.png")
    (tmp_path / "renamed.png").write_bytes(dng.read_bytes())
    with pytest.raises(DataError, match=r"renamed\.png: holds a RAW file \(DNG\)"):
        restore(files / "enhance.onnx", tmp_path / "renamed.png", tmp_path / "o.png")
    with pytest.raises(DataError, match=r"o\.bmp"):
        restore(files / "chain.onnx", dng, tmp_path / "o.bmp")
    with pytest.raises(DataError, match="none"):
        restore(files / "chain.onnx", dng, tmp_path / "none" / "o.png")
    assert not list(tmp_path.glob("o.*"))


def test_files_that_are_no_models(tmp_path: Path, files: Path) -> None:
    with pytest.raises(ModelFileError, match="no such model file"):
        load(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"not onnx at all")
    with pytest.raises(ModelFileError, match=r"bad\.onnx is no ONNX file that onnxruntime can load"):
        load(tmp_path / "bad.onnx")
    (tmp_path / "cut.onnx").write_bytes((files / "chain.onnx").read_bytes()[:2000])
    with pytest.raises(ModelFileError, match=r"cut\.onnx is no ONNX file"):
        load(tmp_path / "cut.onnx")
    with pytest.raises(ModelFileError, match="unknown device 'tpu'"):
        load(files / "chain.onnx", device="tpu")


def test_a_provider_that_is_not_there_is_an_error_not_a_fall_back(files: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has the CUDA provider")
    with pytest.raises(ModelFileError, match="no CUDAExecutionProvider"):
        load(files / "chain.onnx", device="cuda")


def test_unknown_and_missing_inputs_are_named(files: Path) -> None:
    model = load(files / "chain.onnx")
    with pytest.raises(ModelFileError, match="has no input 'mosaik'; it has mosaic"):
        model({"mosaik": np.zeros((1, 1, 4, 4), np.float32)})
    with pytest.raises(ModelFileError, match="needs the input 'mosaic'"):
        model({})
    with pytest.raises(ModelFileError, match="failed to run"):
        model({"mosaic": np.zeros((4, 4), np.float32)})


def test_a_metric_that_is_not_finite_does_not_damage_the_manifest(files: Path) -> None:
    manifest = load(files / "enhance.onnx").manifest
    facts = manifest.model_dump() | {"metrics": {"psnr": float("inf"), "mae": float("nan"), "ssim": 1.0}}
    again = parse_manifest(Manifest.model_validate(facts).model_dump_json(), files / "enhance.onnx")
    assert again.metrics == {"ssim": 1.0}


def test_none_of_it_imports_torch(files: Path, tmp_path: Path) -> None:
    """The command in a process of its own, in which importing torch, onnx or mlflow is an error."""
    _dng(tmp_path / "a.dng")
    code = "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'mlflow', 'skimage']));"
    code += "from restore_hub.cli import main; main(sys.argv[1:])"
    command = ["restore", str(files / "chain.onnx"), str(tmp_path / "a.dng"), "-o", str(tmp_path / "o.png")]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o.png").is_file()
