"""Numbers beside a photograph: given or not, wrong ones, in sequence, for a folder; told and written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from restore_hub import load, restore, restore_folder
from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.pictures import read_picture
from support import refused
from support.commands import end, output
from support.models import join
from support.numbers import Denoised, Export, blocks_of

SCALED = "scale: {network: kinds/scaled, inputs: {image: data.rgb, factor: data.factor}, outputs: [rgb]}"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    write_picture(tmp_path / "p.png", np.random.default_rng(0).random((21, 33, 3)))
    return tmp_path / "p.png"


def _tensor(photo: Path) -> np.ndarray:
    return np.float32(read_picture(photo).pixels.transpose(2, 0, 1)[None])


@pytest.mark.parametrize("given", [{"sigma": 0.25}, {"sigma": np.float32(0.05)}, {"sigma": 0}, {}])
def test_the_result_is_what_pytorch_gives(denoised: Denoised, photo: Path, tmp_path: Path, given: Any) -> None:
    done = restore(denoised.file, photo, tmp_path / "o.png", bits=16, inputs=given)
    expected = denoised.pytorch(_tensor(photo), float(given.get("sigma", 0.1)))[0].transpose(1, 2, 0)
    np.testing.assert_allclose(read_picture(done.path).pixels, expected.clip(0, 1), atol=2e-5)


def test_the_number_is_told_and_written_into_the_picture(denoised: Denoised, photo: Path, tmp_path: Path) -> None:
    said = output("restore", denoised.file, photo, "-o", tmp_path / "o.png", "--input", "sigma=0.2")
    assert said.splitlines()[0] == "sigma 0.2 (given)"
    assert output("restore", denoised.file, photo, "-o", tmp_path / "d.png").startswith("sigma 0.1 (default)\n")
    done = restore(denoised.file, photo, tmp_path / "r.png", inputs={"sigma": 0.2})
    assert done.record["model"]["inputs"] == {"sigma": 0.2}
    with Image.open(tmp_path / "o.png") as opened:
        assert b'"inputs": {"sigma": 0.2}' in opened.info["exif"]


@pytest.mark.parametrize(
    ("inputs", "code", "facts"),
    [
        ({"sigm": 0.1}, "restore.unknown-number", {"known": "sigma"}),
        ({"sigma": 25}, "restore.bad-number", {"range": "a number from 0 to 0.3"}),
        ({"sigma": -0.01}, "restore.bad-number", {}),
        ({"sigma": float("nan")}, "restore.bad-number", {}),
        ({"sigma": "0.1"}, "restore.bad-number", {}),
        ({"sigma": [0.1]}, "restore.bad-number", {}),
        ({"sigma": True}, "restore.bad-number", {}),
    ],
)
def test_a_wrong_number_is_one_error_before_any_work(
    denoised: Denoised, photo: Path, tmp_path: Path, inputs: Any, code: str, facts: Any
) -> None:
    with refused(code, f"input {next(iter(inputs))!r}", **facts) as caught:
        restore(denoised.file, photo, tmp_path / "o.png", inputs=inputs)
    assert code != "restore.unknown-number" or caught.value.mend == "did you mean 'sigma'?"
    with refused(code):
        restore_folder(denoised.file, tmp_path, tmp_path / "out", inputs=inputs)
    assert not (tmp_path / "o.png").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("inputs", [["--input", "sigma"], ["--input", "sigma=high"], ["--input", "sigma=0.1"] * 2])
def test_the_command_wants_a_name_and_a_number_once(
    denoised: Denoised, photo: Path, tmp_path: Path, capsys: Any, inputs: list[str]
) -> None:
    status, _, said = end(capsys, "restore", denoised.file, photo, "-o", tmp_path / "o.png", *inputs)
    assert status == 2
    assert "--input" in said


def test_a_file_that_takes_no_number_takes_none(models: Path, photo: Path, tmp_path: Path) -> None:
    with refused("restore.unknown-number", "input 'sigma'", known="none"):
        restore(models / "enhance.onnx", photo, tmp_path / "o.png", inputs={"sigma": 0.1})


def test_a_mosaic_s_gain_is_no_such_number(models: Path, write_raw: Any, tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "a.dng")
    with refused("restore.unknown-number", "input 'gain'", known="none"):
        restore(models / "chain.onnx", raw, tmp_path / "o.png", inputs={"gain": 2.0})


def test_a_required_number_is_asked_for(export: Export, photo: Path, tmp_path: Path) -> None:
    scale = export("scale.onnx", blocks_of(SCALED), tensor="rgb")
    with refused("restore.number-needed", "input 'factor'", range="a number from 0.5 to 2") as caught:
        restore(scale, photo, tmp_path / "o.png")
    assert "--input factor=" in caught.value.mend
    done = restore(scale, photo, tmp_path / "o.png", inputs={"factor": 2})
    assert done.notes[:2] == ("factor 2 (given)", "offset 0.25 (default)")


def test_each_of_several_files_takes_its_own(export: Export, denoised: Denoised, photo: Path, tmp_path: Path) -> None:
    scale = export("scale.onnx", blocks_of(SCALED), tensor="rgb")
    source, given = join(denoised.file, scale), {"factor": 1.5, "sigma": 0.05}
    done = restore(source, photo, tmp_path / "o.png", bits=16, inputs=given)
    middle = load(denoised.file)(
        {"noisy": np.float32(read_picture(photo).pixels.transpose(2, 0, 1)[None]), "sigma": 0.05}
    )
    expected = load(scale)({"rgb": middle, "factor": 1.5})[0].transpose(1, 2, 0)
    np.testing.assert_allclose(read_picture(done.path).pixels, expected.clip(0, 1), atol=2e-5)
    told = ["chain.onnx: sigma 0.05 (given)", "scale.onnx: factor 1.5 (given)", "scale.onnx: offset 0.25 (default)"]
    assert list(done.notes[:3]) == told
    inputs = [entry["inputs"] for entry in done.record["models"]]
    assert inputs == [{"sigma": 0.05}, {"factor": 1.5, "offset": 0.25}]
    with refused("restore.number-needed", "input 'factor'"):
        restore(source, photo, tmp_path / "other.png")


def test_a_folder_is_made_again_with_another_number(denoised: Denoised, photo: Path, tmp_path: Path) -> None:
    folder, out = photo.parent, tmp_path / "out"
    for sigma, expected in ((0.1, "done"), (0.1, "skipped"), (0.2, "done")):
        (result,) = restore_folder(denoised.file, folder, out, inputs={"sigma": sigma}).results
        assert result.state == expected
        assert result.facts is not None
        assert result.facts["record"]["model"]["inputs"] == {"sigma": sigma}
    said = output("restore", denoised.file, folder, "-o", out, "--input", "sigma=0.2")
    assert ["0", "1", "0"] in [line.split()[:3] for line in said.splitlines()]


def test_tiles_take_the_number_too(denoised: Denoised, photo: Path, tmp_path: Path) -> None:
    whole, cut = (
        restore(denoised.file, photo, tmp_path / f"{tile}.png", bits=16, tile=tile, inputs={"sigma": 0.3})
        for tile in (0, 8)
    )
    difference = read_picture(whole.path).pixels - read_picture(cut.path).pixels
    assert np.abs(difference).max() <= 2e-5
