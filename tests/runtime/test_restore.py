"""Photographs through exported files, without torch; and one clear error for everything that can't work."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rawpy
import tifffile
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

import restore_hub
from restore_hub import load, restore
from restore_hub.errors import DataError
from restore_hub.model.manifest import Manifest, parse_manifest
from restore_hub.photo.exif import read_exif
from restore_hub.photo.icc import srgb_profile
from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.pictures import orient, read_picture
from restore_hub.photo.raw.dng_writer import write_dng
from restore_hub.photo.raw.reader import read_raw
from support import refused
from support.commands import output
from support.models import Write
from support.raw_files import make_dng


def _dng(path: Path, orientation: int = 1, **metadata: float | None) -> Path:
    mosaic = np.random.default_rng(0).integers(600, 1200, (26, 34)).astype(np.uint16)
    facts = {"black": np.float32([512] * 4), "white": np.float32([16383] * 4), "exposure_time": 0.1, "camera": "Test"}
    return make_dng(path, mosaic, phase=(0, 1), orientation=orientation, gain=metadata.get("gain"), **facts)
    return path


def test_gain_comes_from_the_command_else_the_file_else_a_rule(models: Path, tmp_path: Path) -> None:
    given = restore(models / "chain.onnx", _dng(tmp_path / "a.dng", gain=8.0), tmp_path / "1.png", gain=7.0)
    of_file = restore(models / "chain.onnx", tmp_path / "a.dng", tmp_path / "2.png")
    by_rule = restore(models / "chain.onnx", _dng(tmp_path / "b.dng"), tmp_path / "3.png")
    assert given.notes[0] == "gain 7 (given)"
    assert of_file.notes[0].startswith("gain 8 ")
    assert "metadata" in of_file.notes[0]
    assert "0.18" in by_rule.notes[0]
    assert "white balance red 2, green 1, blue 1.5" in of_file.notes[1]


def test_the_picture_is_turned_upright(models: Path, tmp_path: Path) -> None:
    plain = restore(models / "chain.onnx", _dng(tmp_path / "a.dng", gain=8.0), tmp_path / "a.png")
    turned = restore(models / "chain.onnx", _dng(tmp_path / "b.dng", orientation=6, gain=8.0), tmp_path / "b.png")
    assert (plain.height, plain.width) == (26, 34)
    assert (turned.height, turned.width) == (34, 26)
    expected = orient(read_picture(plain.path).pixels, 6)
    assert np.array_equal(read_picture(turned.path).pixels, expected)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_rgb_in_rgb_out(models: Path, tmp_path: Path, suffix: str, bits: int) -> None:
    photo = np.random.default_rng(0).random((9, 7, 3), dtype=np.float32)
    write_picture(tmp_path / "in.png", photo, bits=16)
    done = restore(models / "enhance.onnx", tmp_path / "in.png", tmp_path / f"out.{suffix}", bits=bits)
    model = load(models / "enhance.onnx")
    tensor = np.round(photo * 65535).astype(np.float32).transpose(2, 0, 1)[None] / 65535
    expected = np.clip(model({"rgb": np.ascontiguousarray(tensor)})[0].transpose(1, 2, 0), 0, 1)
    np.testing.assert_allclose(read_picture(done.path).pixels, expected, atol=0.51 / (2**bits - 1) + 1e-6)
    assert read_picture(done.path).bits == bits


EXIF, GPS, LENS = 34665, 34853, 42036
FORMATS = [("o.png", 8), ("o.png", 16), ("o.tif", 8), ("o.tif", 16), ("o.jpg", 8), ("o.dng", 16)]


def _facts() -> Image.Exif:
    exif = Image.Exif()
    exif.update({271: "Acme", 272: "X 1", 274: 6, 305: "the camera", 306: "2024:05:06 07:08:09"})
    taken = {33434: IFDRational(1, 250), 34855: 400, LENS: "35 mm", 37500: b"the maker's note", 36864: b"0232"}
    exif.get_ifd(EXIF).update(taken)
    exif.get_ifd(GPS).update({1: "N", 2: (48.0, 8.0, 13.5)})
    return exif


def _jpeg(path: Path, icc: bytes | None = None, exif: Image.Exif | bytes | None = None) -> Path:
    """Write a picture whose rows grow brighter downwards as stored, and which stands upright when turned by 6."""
    ramp = np.linspace(20, 230, 30)[:, None, None] * np.ones((1, 40, 3))
    picture = Image.fromarray(ramp.astype(np.uint8))
    picture.save(path, quality=100, subsampling=0, icc_profile=icc, exif=_facts() if exif is None else exif)
    return path


def _photographed(path: Path) -> Path:
    """Write a Bayer DNG that lies on its side, with EXIF of a camera."""
    write_dng(path, read_raw(_dng(path, orientation=6, gain=8.0)), read_exif(_facts().tobytes())[0])
    return path


def _seen(path: Path) -> tuple[dict[int, Any], dict[str, Any], dict[str, Any]]:
    """Return the main tags of a result, by a reader that wrote none of it, and those of exposure and place."""
    if path.suffix in (".tif", ".dng"):
        data = path.read_bytes()
    else:
        with Image.open(path) as image:
            data = image.info["exif"].removeprefix(b"Exif\0\0")
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        tags = tiff.pages.first.tags
        return {tag.code: tag.value for tag in tags}, tags.valueof(EXIF), tags.valueof(GPS)


@pytest.mark.parametrize(("name", "bits"), FORMATS)
@pytest.mark.parametrize("source", ["jpg", "dng"])
def test_exif_travels(models: Path, tmp_path: Path, source: str, name: str, bits: int) -> None:
    photo = (_jpeg if source == "jpg" else _photographed)(tmp_path / f"in.{source}")
    model = load(models / ("enhance.onnx" if source == "jpg" else "chain.onnx"))
    out = tmp_path / name
    done = restore(model, photo, out, bits=bits)
    assert not any("EXIF" in note for note in done.notes)
    main, exposure, place = _seen(out)
    assert (main[271], main[272], main[306]) == ("Acme", "X 1", "2024:05:06 07:08:09")
    assert main[305] == f"restore_hub {restore_hub.__version__}"
    assert exposure["LensModel"] == "35 mm"
    assert exposure["ISOSpeedRatings"] == 400
    assert exposure["ExposureTime"] == ((1, 250) if source == "jpg" else (1, 10))
    assert place["GPSLatitude"] == (48, 1, 8, 1, 27, 2)
    assert "MakerNote" not in exposure
    assert b"the maker's note" not in out.read_bytes()
    assert main.get(274, 1) == (6 if (source, name) == ("dng", "o.dng") else 1)
    before = out.read_bytes()
    restore(model, photo, out, bits=bits, overwrite=True)
    assert out.read_bytes() == before


@pytest.mark.parametrize(("name", "bits"), FORMATS)
def test_a_picture_on_its_side_is_written_upright_once(models: Path, tmp_path: Path, name: str, bits: int) -> None:
    done = restore(models / "enhance.onnx", _jpeg(tmp_path / "in.jpg"), tmp_path / name, bits=bits)
    assert (done.height, done.width) == (40, 30)
    stored = np.asarray(Image.open(tmp_path / "in.jpg"), np.float32) / 255
    write_picture(tmp_path / "upright.png", orient(stored, 6))
    other = restore(models / "enhance.onnx", tmp_path / "upright.png", tmp_path / f"upright-{name}", bits=bits)
    pixels, expected = (_developed(d.path) if name == "o.dng" else read_picture(d.path).pixels for d in (done, other))
    assert pixels.shape == (40, 30, 3)
    np.testing.assert_array_equal(pixels, expected)
    assert pixels[:, 0].mean() > pixels[:, -1].mean() + 0.1


def _developed(path: Path) -> np.ndarray:
    with rawpy.imread(str(path)) as raw:
        plain = {"use_camera_wb": True, "no_auto_bright": True, "adjust_maximum_thr": 0}
        return raw.postprocess(output_bps=16, gamma=(2.4, 12.92), **plain) / 65535


@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_a_linear_dng_of_raw_lies_as_the_sensor_and_looks_alike(models: Path, tmp_path: Path, orientation: int) -> None:
    photo = _dng(tmp_path / "a.dng", orientation=orientation, gain=8.0)
    picture = restore(models / "chain.onnx", photo, tmp_path / "o.png", bits=16)
    dng = restore(models / "chain.onnx", photo, tmp_path / "O.DNG")
    assert (dng.height, dng.width, dng.bits) == (picture.height, picture.width, 16)
    with rawpy.imread(str(dng.path)) as raw:
        assert raw.raw_image_visible.shape[:2] == (26, 34)
    assert np.abs(_developed(dng.path) - read_picture(picture.path).pixels).mean() < 5e-4


def test_profiles_travel_and_raw_is_marked_as_srgb(models: Path, tmp_path: Path) -> None:
    wide = bytearray(srgb_profile())
    place = wide.index(b"para") + 12  # the tone curve that the three colours share
    wide[place : place + 4] = (65536).to_bytes(4, "big")
    for name, bits in FORMATS[:-1]:
        for icc in (srgb_profile(), bytes(wide), None):
            photo = _jpeg(tmp_path / "in.jpg", icc)
            restore(models / "enhance.onnx", photo, tmp_path / name, bits=bits, overwrite=True)
            assert read_picture(tmp_path / name).icc == icc
        restore(models / "chain.onnx", _dng(tmp_path / "a.dng"), tmp_path / name, bits=bits, overwrite=True)
        assert read_picture(tmp_path / name).icc == srgb_profile()
    restore(models / "enhance.onnx", _jpeg(tmp_path / "in.jpg", srgb_profile()), tmp_path / "o.dng")
    with refused("restore.dng-needs-srgb", "in.jpg", profile="sRGB built-in"):
        restore(models / "enhance.onnx", _jpeg(tmp_path / "in.jpg", bytes(wide)), tmp_path / "p.dng")
    assert not (tmp_path / "p.dng").exists()


def test_a_dng_holds_16_bits_and_at_least_22_pixels(models: Path, tmp_path: Path) -> None:
    with refused("restore.dng-bits", "o.dng", got=8):
        restore(models / "chain.onnx", _dng(tmp_path / "a.dng"), tmp_path / "o.dng", bits=8)
    write_picture(tmp_path / "in.png", np.zeros((40, 21, 3)))
    with pytest.raises(DataError, match=r"o\.dng"):
        restore(models / "enhance.onnx", tmp_path / "in.png", tmp_path / "o.dng")
    assert not (tmp_path / "o.dng").exists()
    assert restore(models / "enhance.onnx", tmp_path / "in.png", tmp_path / "o.png").bits == 8


def test_damaged_exif_is_reported_and_stops_nothing(models: Path, tmp_path: Path) -> None:
    photo = _jpeg(tmp_path / "in.jpg", exif=_facts().tobytes()[:120])
    done = restore(models / "enhance.onnx", photo, tmp_path / "o.png")
    (lost,) = done.notes
    assert "EXIF" in lost
    data = bytearray(_photographed(tmp_path / "a.dng").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.dng") as tiff:
        place = tiff.pages.first.tags[GPS].offset
    data[place + 8 : place + 12] = b"\xff\xff\xff\x7f"
    (tmp_path / "a.dng").write_bytes(data)
    done = restore(models / "chain.onnx", tmp_path / "a.dng", tmp_path / "o.tif")
    assert done.notes[-1] == lost
    assert done.notes[0].startswith("gain 8 ")


def test_the_command_chooses_the_bits(models: Path, tmp_path: Path) -> None:
    photo = _dng(tmp_path / "a.dng", gain=8.0)
    for name, bits, more in (("o.dng", 16, []), ("o.png", 8, []), ("p.png", 16, ["--bits", "16"])):
        told = output("restore", models / "chain.onnx", photo, "-o", tmp_path / name, *more)
        assert told.splitlines()[-1] == f"wrote {tmp_path / name} (34x26, {bits} bits)"


def test_nothing_is_overwritten_unasked(models: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.png"
    out.write_bytes(b"mine")
    with refused("restore.output-exists", out):
        restore(models / "chain.onnx", _dng(tmp_path / "a.dng"), out)
    assert out.read_bytes() == b"mine"
    restore(models / "chain.onnx", tmp_path / "a.dng", out, overwrite=True)
    assert out.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["in.png", "symbolic.png", "hard.png", "folder/../in.png"])
def test_the_photo_is_never_its_own_result(models: Path, tmp_path: Path, name: str, overwrite: bool) -> None:
    photo = tmp_path / "in.png"
    write_picture(photo, np.full((8, 8, 3), 0.25))
    (tmp_path / "folder").mkdir()
    (tmp_path / "symbolic.png").symlink_to(photo)
    (tmp_path / "hard.png").hardlink_to(photo)
    before = photo.read_bytes()
    for source, out in ((photo, tmp_path / name), (tmp_path / name, photo)):
        with refused("restore.output-is-input"):
            restore(models / "enhance.onnx", source, out, overwrite=overwrite)
    assert photo.read_bytes() == before
    assert (tmp_path / "symbolic.png").is_symlink()


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_model_is_never_the_result(models: Path, tmp_path: Path, overwrite: bool) -> None:
    write_picture(tmp_path / "in.png", np.full((8, 8, 3), 0.25))
    model = tmp_path / "model.onnx"
    model.write_bytes((models / "enhance.onnx").read_bytes())
    for name in ("link.png", "link.dng"):
        (tmp_path / name).symlink_to(model)
        with refused("restore.output-is-input"):
            restore(model, tmp_path / "in.png", tmp_path / name, overwrite=overwrite)
    with refused("photo.unknown-suffix", suffix=".onnx"):
        restore(model, tmp_path / "in.png", model, overwrite=overwrite)
    assert model.read_bytes() == (models / "enhance.onnx").read_bytes()


def test_names_of_results(models: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "in.png", np.full((8, 8, 3), 0.25))
    for overwrite in (False, True):
        with refused("files.cannot-write", cause="File name too long"):
            restore(models / "enhance.onnx", tmp_path / "in.png", tmp_path / f"{'o' * 296}.png", overwrite=overwrite)
    done = restore(models / "enhance.onnx", tmp_path / "in.png", tmp_path / f"{'o' * 251}.png")
    assert len(done.path.name) == 255
    assert read_picture(done.path).pixels.shape == (8, 8, 3)
    with refused("photo.unknown-suffix", "o.gif", suffix=".gif"):
        restore(models / "enhance.onnx", tmp_path / "in.png", tmp_path / "o.gif")


def test_a_photograph_that_the_model_cannot_take_is_one_error(models: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "p.png", np.zeros((4, 4, 3), np.float32))
    dng = _dng(tmp_path / "a.dng")
    for model, photo, out, options, code, place in (
        ("chain.onnx", "p.png", "o.png", {}, "restore.needs-raw", "p.png"),
        ("enhance.onnx", "a.dng", "o.png", {}, "restore.needs-picture", "a.dng"),
        ("enhance.onnx", "p.png", "o.png", {"gain": 2.0}, "restore.option-for-raw", "gain"),
        ("enhance.onnx", "p.png", "o.png", {"balance": "camera"}, "restore.option-for-raw", "balance"),
        ("chain.onnx", "a.dng", "o.bmp", {}, "photo.unknown-suffix", "o.bmp"),
        ("chain.onnx", "a.dng", "none/o.png", {}, "restore.no-output-folder", "none/o.png"),
    ):
        with refused(code, place):
            restore(models / model, tmp_path / photo, tmp_path / out, **options)
    for gain in (-1.0, 0.0, 1.1e6, float("inf"), float("nan")):
        with refused("restore.bad-gain", "gain"):
            restore(models / "chain.onnx", dng, tmp_path / "o.png", gain=gain)
    (tmp_path / "notes.dng").write_text("hello\n")
    (tmp_path / "renamed.png").write_bytes(dng.read_bytes())
    for model, photo in (("chain.onnx", "notes.dng"), ("enhance.onnx", "renamed.png")):
        with pytest.raises(DataError, match=photo):
            restore(models / model, tmp_path / photo, tmp_path / "o.png")
    assert not list(tmp_path.glob("o.*"))


def test_unknown_and_missing_inputs_are_named(models: Path) -> None:
    model = load(models / "chain.onnx")
    for feeds, code, facts in (
        ({"mosaik": np.zeros((1, 1, 4, 4), np.float32)}, "model.unknown-input", {"name": "mosaik"}),
        ({}, "model.missing-input", {"name": "mosaic"}),
        ({"mosaic": np.zeros((4, 4), np.float32)}, "model.run-failed", {}),
    ):
        with refused(code, "chain.onnx", **facts):
            model(feeds)


def test_a_metric_that_is_not_finite_does_not_damage_the_manifest(models: Path) -> None:
    manifest = load(models / "enhance.onnx").manifest
    facts = manifest.model_dump() | {"metrics": {"psnr": float("inf"), "mae": float("nan"), "ssim": 1.0}}
    again = parse_manifest(Manifest.model_validate(facts).model_dump_json(), models / "enhance.onnx")
    assert again.metrics == {"ssim": 1.0}


def test_none_of_it_imports_torch(models: Path, tmp_path: Path) -> None:
    """The command in a process of its own, in which importing torch, onnx or mlflow is an error."""
    (tmp_path / "photos").mkdir()
    _dng(tmp_path / "photos" / "a.dng")
    code = "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'mlflow', 'skimage']));"
    code += "from restore_hub.cli import main; main(sys.argv[1:])"
    for photo, out, made in (("photos/a.dng", "o.png", "o.png"), ("photos", "out", "out/a.png")):
        command = ["restore", models / "chain.onnx", tmp_path / photo, "-o", tmp_path / out]
        done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / made).is_file()


@pytest.mark.parametrize(("kind", "name"), [("raw-to-rgb", "o.png"), ("raw-to-rgb", "o.dng"), ("raw-to-raw", "o.dng")])
def test_infinite_values_are_not_written(tmp_path: Path, write_model: Write, kind: str, name: str) -> None:
    """A network may overflow on one photograph and on no test vector; as levels of a mosaic that would look sound."""
    model, photo = write_model(tmp_path / "m.onnx", kind, factor=1e38), _dng(tmp_path / "a.dng")
    with refused("restore.not-finite", photo, model=model):
        restore(model, photo, tmp_path / name)
    assert not (tmp_path / name).exists()
