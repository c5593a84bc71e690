"""`restore-hub evaluate`: runs, files, zoo models and folders of results, on splits and folders."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from restore_hub.photo.picture_writer import write_picture
from restore_hub.train.run import Result
from support import check
from support.commands import end, invoke, output
from support.fresh import fresh_python

COUNT = 4


def _clean(index: int) -> NDArray[np.float64]:
    levels = np.random.default_rng(index).integers(40, 200, (5, 6, 3))
    return np.kron(levels, np.ones((8, 8, 1))) / 255


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_model: Callable[..., Path]) -> Path:
    """Return a folder with pictures, and with results that are off by levels: of `good` by 2, of `bad` by 8.

    `half.onnx` halves a picture; those in `bright` are twice as bright as the references, but for saturation.
    """
    monkeypatch.chdir(tmp_path)
    for index in range(COUNT):
        clean = _clean(index)
        for folder, picture in {
            "clean": clean,
            "bright": clean * 2,
            "good": clean + 2 / 255,
            "bad": clean + 8 / 255,
        }.items():
            (tmp_path / folder / "day").mkdir(parents=True, exist_ok=True)
            suffix = "tif" if folder == "good" else "png"
            write_picture(tmp_path / folder / "day" / f"p{index}.{suffix}", picture, bits=16)
    write_model(tmp_path / "half.onnx", factor=0.5)
    return tmp_path


def _rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def _found(*arguments: object) -> Any:
    return json.loads(output("evaluate", *arguments, "--json"))


@pytest.mark.usefixtures("here")
def test_results_are_measured_and_compared() -> None:
    """An error of n levels everywhere has a PSNR of 20 log10(255 / n)."""
    found = _found("good", "bad", "--reference", "clean", "--metrics", "psnr")
    assert found["reference"] == "data.reference"
    assert found["samples"] == COUNT
    assert found["metrics"] == {"psnr": {"higher_is_better": True}}
    for name, levels in {"good": 2, "bad": 8}.items():
        assert found["scores"][name]["psnr"]["mean"] == pytest.approx(20 * np.log10(255 / levels))
    change = found["differences"]
    assert change["to"] == "good"
    assert change["of"]["bad"]["psnr"]["mean"] == pytest.approx(-20 * np.log10(4))
    assert change["of"]["bad"]["psnr"]["verdict"] == "worse"
    lines = output("evaluate", "good", "bad", "--reference", "clean").splitlines()
    assert lines[0].startswith("clean, against data.reference: 4 samples")
    assert lines[1].split() == ["psnr", "ssim"]
    assert [line.split()[:2] for line in lines[2:4]] == [["good", "42.11"], ["bad", "30.07"]]
    assert [line.split()[0] + " " + line.split()[-1] for line in lines[-2:]] == ["bad worse", "bad worse"]


@pytest.mark.usefixtures("here")
def test_the_data_as_they_are_are_measured_too() -> None:
    """Only where they have the size of their references."""
    found = _found("good", "--data", "bad", "--reference", "clean", "--metrics", "psnr")
    assert list(found["scores"]) == ["unrestored", "good"]
    assert found["scores"]["unrestored"]["psnr"]["mean"] == pytest.approx(20 * np.log10(255 / 8))
    assert found["differences"] is None
    for index in range(COUNT):
        write_picture(Path("bad", "day", f"p{index}.png"), _clean(index)[::2, ::2])
    found = _found("good", "--data", "bad", "--reference", "clean", "--metrics", "psnr")
    assert list(found["scores"]) == ["good"]
    assert found["samples"] == COUNT


@pytest.mark.usefixtures("here")
def test_a_file_writes_pictures_that_measure_the_same() -> None:
    given = ("--data", "bright", "--reference", "clean")
    output("evaluate", "half.onnx", *given, "--csv", "file.csv", "--pictures", "made")
    output("evaluate", "made", *given, "--csv", "results.csv")
    rows, again = _rows("file.csv"), _rows("results.csv")
    assert [row["sample"] for row in rows if row["metric"] == "psnr"] == 2 * [f"p{index}" for index in range(COUNT)]
    assert rows[0] == {**rows[0], "candidate": "unrestored", "metric": "psnr", "file": "bright/day/p0.png"}
    assert [row["value"] for row in rows] == [row["value"] for row in again]
    assert sorted(path.name for path in Path("made").iterdir()) == [f"p{index}.png" for index in range(COUNT)]
    means = _found("half.onnx", *given)["scores"]["half.onnx"]
    values = [float(row["value"]) for row in rows if (row["candidate"], row["metric"]) == ("half.onnx", "ssim")]
    assert means["ssim"]["mean"] == pytest.approx(np.mean(values))
    assert means["ssim"]["error"] == pytest.approx(np.std(values, ddof=1) / 2)


@pytest.mark.usefixtures("here")
def test_several_files_have_a_folder_of_pictures_each(write_model: Callable[..., Path]) -> None:
    write_model(Path("same.onnx"), factor=1)
    names = ("half.onnx", "./half.onnx", "same.onnx")
    output("evaluate", *names, "good", "--data", "bright", "--reference", "clean", "--pictures", "made")
    assert sorted(path.name for path in Path("made").iterdir()) == ["1-half.onnx", "2-half.onnx", "same.onnx"]
    assert len(list(Path("made").rglob("*.png"))) == 3 * COUNT


def test_raw_pairs_are_measured_like_training(pairs: Path, models: Path, finished: Result) -> None:
    """A run measures what it measured when it ended, its exported chain nearly that; folders and splits agree."""
    run, chain = finished.folder, finished.folder / "export" / "chain.onnx"
    found = _found(run, chain, models / "chain.onnx")
    assert found["data"] == f"holdout of {run}"
    means = {name: values["mean"] for name, values in found["scores"][str(run)].items()}
    assert means == pytest.approx(dict(finished.metrics), rel=1e-6)
    assert found["scores"][str(chain)]["psnr"]["mean"] == pytest.approx(means["psnr"], rel=1e-2)
    assert "unrestored" not in found["scores"], "planes of half the size"
    for given in (
        ("--data", pairs / "holdout"),
        ("--data", pairs / "holdout" / "short", "--reference", pairs / "holdout" / "long"),
        ("--data", f"{{dataset: raw/pairs, root: {pairs / 'holdout'}}}"),
    ):
        assert _found(run, chain, models / "chain.onnx", *given)["scores"] == found["scores"]
    assert _found(run, "--data", "train", "--weights", "stage-1")["samples"] == 2


def test_zoo_models_and_folders_need_no_torch(pairs: Path, here: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'mlflow', 'torchvision']));"
        "from restore_hub.cli import group; group(sys.argv[1:])"
    )
    done = fresh_python(code, "evaluate", "zoo:raw-lowlight", "--data", pairs / "holdout")
    assert "zoo:raw-lowlight" in done.stdout
    given = (here / "good", "--data", here / "bright", "--reference", here / "clean")
    assert "unrestored" in fresh_python(code, "evaluate", *given).stdout


@pytest.mark.usefixtures("here")
def test_metrics_are_chosen_by_name_or_as_a_spec_writes_them() -> None:
    swapped = "{back: {metric: psnr, inputs: {prediction: data.reference, target: prediction}}, ssim: ssim}"
    found = _found("good", "bad", "--reference", "clean", "--metrics", swapped)["scores"]
    assert list(found["good"]) == ["back", "ssim"]
    assert found["bad"]["back"]["mean"] == pytest.approx(20 * np.log10(255 / 8))
    found = _found("good", "--reference", "clean", "--metrics", "[std/psnr]")["scores"]
    assert list(found["good"]) == ["std/psnr"]


def _damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


PICTURES = ("--data", "bright", "--reference", "clean")
BAD: list[tuple[Sequence[object], str, str]] = [
    (("half.onnx",), "evaluate.no-data", "--data"),
    (("half.onnx", "--data", "bright"), "evaluate.no-reference", "--metrics psnr"),
    (("half.onnx", "--data", "holdout"), "evaluate.no-such-data", "holdout"),
    (("half.onnx", "--data", "bright", "--reference", "none"), "evaluate.no-folder", "none"),
    (("half.onnx", "--data", "bright", "--reference", "empty"), "evaluate.no-pictures", "empty"),
    (("half.onnx", "--data", "bright", "--reference", "fewer"), "evaluate.no-partner", "bright/day/p2.png"),
    (("half.onnx", "--data", "fewer", "--reference", "clean"), "evaluate.no-partner", "clean/day/p2.png"),
    (("half.onnx", "--data", "raw"), "evaluate.no-input", "half.onnx"),
    (("zoo:raw-lowlight", *PICTURES), "evaluate.no-input", "zoo:raw-lowlight"),
    (("zoo:raw-lowlight", "--data", "raw/short"), "evaluate.raw-alone", "raw/short"),
    (("zoo:none", *PICTURES), "zoo.unknown", "zoo:none"),
    (("none.onnx", *PICTURES), "model.missing", "none.onnx"),
    (("none", *PICTURES), "evaluate.not-a-candidate", "none"),
    (("fewer", *PICTURES), "evaluate.no-result", "fewer"),
    (("small", *PICTURES), "evaluate.other-size", "small/day/p1.tif"),
    (("cut", *PICTURES), "photo.damaged", "cut/day/p1.tif"),
    (("twice", *PICTURES), "evaluate.same-name", "twice/day/p1.tif"),
    (("good", *PICTURES, "--metrics", "psnrr"), "plugin.unknown-component", "--metrics psnrr"),
    (("good", *PICTURES, "--metrics", "{p: {metric: psnr, peak: 1}}"), "spec.unknown-option-set", "--metrics p.peak"),
    (("good", *PICTURES, "--metrics", "{p: 3}"), "evaluate.bad-metrics", "--metrics"),
    (("good", *PICTURES, "--metrics", "{p: {metric: psnr, inputs: {target: data.no}}}"), "evaluate.no-tensor", "good"),
    (("good", *PICTURES, "--input", "sigma=1"), "evaluate.no-number", "--input sigma"),
    (("good", "--data", "{root: raw}"), "evaluate.no-dataset-named", "--data"),
    (("good", "--data", "{dataset: raw/pears}"), "plugin.unknown-component", "--data dataset"),
    (("good", "--data", "{dataset: raw/pairs, root: none}"), "raw-data.no-folder", "--data"),
    (
        ("good", "--data", "{dataset: raw/pairs, root: raw}", "--reference", "clean"),
        "evaluate.two-references",
        "--data",
    ),
    (("half.onnx", *PICTURES, "--csv", "none/a.csv"), "evaluate.csv-folder", "none/a.csv"),
    (("half.onnx", *PICTURES, "--pictures", "clean"), "evaluate.pictures-exist", "clean"),
]


@pytest.fixture
def spoilt(here: Path, pairs: Path) -> Path:
    """Return the folder with everything that can be wrong with one."""
    (here / "empty").mkdir()
    shutil.copytree(pairs / "holdout", here / "raw")
    for name in ("fewer", "small", "cut", "twice"):
        shutil.copytree(here / "good", here / name)
    (here / "fewer" / "day" / "p2.tif").unlink()
    shutil.copyfile(here / "bad" / "day" / "p1.png", here / "twice" / "day" / "p1.png")
    write_picture(here / "small" / "day" / "p1.tif", np.zeros((5, 5, 3)))
    _damage(here / "cut" / "day" / "p1.tif")
    return here


def test_bad_input_has_one_line_that_names_it(spoilt: Path) -> None:
    before = sorted(spoilt.rglob("*"))
    for arguments, code, place in BAD:
        done = invoke("evaluate", *arguments)
        assert done.exception is not None, (arguments, done.output)
        check(done.exception, code, place)
    assert sorted(spoilt.rglob("*")) == before, "nothing is written"


def test_a_split_needs_a_run_that_has_it(finished: Result) -> None:
    done = invoke("evaluate", finished.folder, "--data", "holdoutt")
    check(done.exception, "evaluate.no-split", "holdoutt", known="train, upper, holdout")
    assert "'holdout'" in str(done.exception)
    check(invoke("evaluate", finished.folder, "--weights", "none").exception, "export.no-weights", finished.folder)


@pytest.mark.usefixtures("here")
def test_nothing_is_given_twice(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = end(capsys, "evaluate", "good", "good", "--reference", "clean")
    assert (code, out) == (2, "")
    assert "good is given twice" in err


def test_a_damaged_picture_is_left_out_for_all(here: Path) -> None:
    _damage(here / "bright" / "day" / "p1.png")
    printed = output("evaluate", "good", "bad", "half.onnx", *PICTURES, "--csv", "a.csv")
    assert {row["sample"] for row in _rows("a.csv")} == {"p0", "p2", "p3"}
    assert len(_rows("a.csv")) == 3 * 2 * 4
    assert "left out 1 of 4 samples" in printed.splitlines()[-1]
    for index in range(COUNT):
        _damage(here / "bright" / "day" / f"p{index}.png")
    check(invoke("evaluate", "good", *PICTURES).exception, "data.none-readable", "bright and clean")
