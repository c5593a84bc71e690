"""A whole run: what it leaves, that it repeats, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from restore_hub import load, restore, run
from restore_hub.errors import SpecError, TrainingError
from restore_hub.export.runs import export_run
from restore_hub.plugins import default_registry
from restore_hub.train.recording.find_run import create_run_folder
from restore_hub.train.run import Result
from support import LOWLIGHT, Capture, refused
from support.runs import journal

pytestmark = pytest.mark.xdist_group("finished run")  # one worker makes what they share


def test_a_run_leaves_what_it_promises(finished: Result) -> None:
    files = {str(p.relative_to(finished.folder)) for p in finished.folder.rglob("*") if p.is_file()}
    assert {"spec.json", "environment.json", "metrics.jsonl", "pictures/0-p4-output.png"} <= files
    assert {f"checkpoints/{n}.pt" for n in ("stage-1", "stage-2", "last", "best")} <= files
    assert {f"export/{n}.onnx" for n in ("generate", "enhance", "chain")} <= files
    assert not [name for name in files if name.endswith(".part")]
    assert [stage.steps for stage in finished.stages] == [3, 2]
    assert finished.metrics == finished.stages[-1].metrics, "the weights of the end are exported"
    assert finished.step == 5


def test_every_step_is_recorded_with_the_diagnostics_of_its_solver(finished: Result) -> None:
    lines = journal(finished.folder)
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3]
    bilevel = [line for line in lines if "loss/upper" in line]
    assert [line["step"] for line in bilevel] == [4, 5]
    assert {"s", "g_lower", "cosine", "response_norm"} <= set(bilevel[0])
    assert len([line for line in lines if "holdout/psnr" in line]) == 2


def test_the_resolved_spec_names_everything_and_runs_again(finished: Result, tmp_path: Path) -> None:
    resolved = json.loads((finished.folder / "spec.json").read_text())
    assert resolved["spec"]["stages"][1]["solver"] == "std/ibgl"
    assert resolved["spec"]["stages"][1]["cap"] == 10.0, "defaults of components are written out"
    again = run(finished.folder / "spec.json", overrides=["export={}"], out=tmp_path / "again")
    one, two = (torch.load(r.folder / "checkpoints" / "last.pt")["blocks"]["generate"] for r in (finished, again))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert resolved["components"]["network raw/unet"]["owner"] == "restore-hub"
    environment = json.loads((finished.folder / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0]


def test_the_same_spec_gives_the_same_bits(finished: Result, small: list[str], tmp_path: Path) -> None:
    again = run(LOWLIGHT, overrides=small, out=tmp_path / "again")
    one, two = (torch.load(r.folder / "checkpoints" / "last.pt")["blocks"] for r in (finished, again))
    for block in one:
        for name in one[block]:
            assert torch.equal(one[block][name], two[block][name]), f"{block}.{name}"
    other = run(LOWLIGHT, overrides=[*small, "seed=1"], out=tmp_path / "other")
    three = torch.load(other.folder / "checkpoints" / "last.pt")["blocks"]
    assert not torch.equal(one["generate"]["last.weight"], three["generate"]["last.weight"])


def test_the_exported_chain_restores_a_dark_dng(finished: Result, pairs: Path, tmp_path: Path) -> None:
    chain = finished.folder / "export" / "chain.onnx"
    done = restore(chain, pairs / "holdout" / "short" / "p4.dng", tmp_path / "o.png")
    assert (done.width, done.height) == (64, 48)
    manifest = load(chain).manifest
    assert manifest.metrics["psnr"] == pytest.approx(finished.metrics["psnr"])
    assert manifest.provenance["spec"]["name"] == "raw_lowlight"


@pytest.mark.long
def test_earlier_weights_export_by_name(finished: Result, tmp_path: Path) -> None:
    files = export_run(finished.folder, default_registry(), "stage-1", tmp_path / "early")
    assert sorted(path.name for path in files) == ["chain.onnx", "enhance.onnx", "generate.onnx"]
    before = (finished.folder / "export" / "chain.onnx").read_bytes()
    (beside,) = {path.parent for path in export_run(finished.folder, default_registry(), "stage-1")}
    assert beside == finished.folder / "export-stage-1"
    assert (finished.folder / "export" / "chain.onnx").read_bytes() == before
    assert load(files[-1]).manifest.provenance["step"] == 3
    with refused("export.no-weights", finished.folder, name="stage-9", known="best, last, stage-1, stage-2"):
        export_run(finished.folder, default_registry(), "stage-9")
    with refused("train.not-a-run", tmp_path):
        export_run(tmp_path, default_registry())


def test_a_run_continues_from_weights_of_another(finished: Result, small: list[str], tmp_path: Path) -> None:
    path = finished.folder / "checkpoints" / "stage-1.pt"
    weights = [f"blocks.{name}.weights={path}" for name in ("generate", "enhance")]
    still = [*small, *weights, "stages.0.lr=1e-30", "stages.1.upper.lr=1e-30", "stages.1.lower.lr=1e-30"]
    result = run(LOWLIGHT, overrides=still, out=tmp_path / "r")
    one, two = (torch.load(p)["blocks"]["generate"] for p in (path, result.folder / "checkpoints" / "last.pt"))
    assert all(torch.allclose(one[name], two[name], atol=1e-12) for name in one)
    resolved = json.loads((result.folder / "spec.json").read_text())
    assert set(resolved["weights_sha256"]) == {"generate", "enhance"}


@pytest.mark.long
def test_minutes_end_a_stage(small: list[str], tmp_path: Path) -> None:
    result = run(
        LOWLIGHT,
        overrides=[*small, "stages.0.steps=", "stages.0.minutes=0.005", "export={chain: enhanced}"],
        out=tmp_path / "r",
    )
    assert result.stages[0].steps >= 1
    assert result.stages[0].seconds >= 0.3


@pytest.mark.parametrize(
    ("override", "code", "place"),
    [
        ("blocks.generate.weights=nothing.pt", "data.no-weights-file", "blocks.generate.weights"),
        ("blocks.generate.weights=SELF", "data.weights-unreadable", "blocks.generate.weights"),
        ("data.train.crop=512", "raw-data.crop-too-large", "stage 1/2 joint"),
        ("data.train.root=nowhere", "raw-data.no-folder", ""),
        ("data.upper.root=SAME", "data.splits-share-files", ""),
        ("stages.0.lr=1e30", "bilevel.not-finite", "stage 1/2 joint, step "),
    ],
)
def test_failures_are_one_error(small: list[str], tmp_path: Path, override: str, code: str, place: str) -> None:
    train = next(o for o in small if o.startswith("data.train.root=")).partition("=")[2]
    override = override.replace("SELF", str(Path(__file__))).replace("SAME", train)
    with refused(code, place):
        run(LOWLIGHT, overrides=[*small, override], out=tmp_path / "r")
    assert not (tmp_path / "r").exists(), "the corrected command may use the same folder"


def test_a_run_that_fails_late_says_resume(small: list[str], tmp_path: Path, capsys: Capture) -> None:
    with pytest.raises(TrainingError) as caught:
        run(LOWLIGHT, overrides=[*small, "stages.1.lower.lr=1e30"], out=tmp_path / "r")
    assert caught.value.place.startswith("stage 2/2 ibgl, step ")
    said = capsys.readouterr().err
    line = f"restore-hub run {tmp_path}/r/spec.json --out {tmp_path}/r --resume"
    assert f"to resume once the cause is fixed: {line}" in said


def test_pairs_of_different_sizes_are_named(small: list[str], pairs: Path, tmp_path: Path) -> None:
    from restore_hub.photo.picture_writer import write_picture
    from restore_hub.photo.pictures import read_picture

    for kind in ("short", "long"):
        (tmp_path / "bad" / kind).mkdir(parents=True)
    source = pairs / "train" / "short" / "p1.dng"
    (tmp_path / "bad" / "short" / "p1.dng").write_bytes(source.read_bytes())
    cut = read_picture(pairs / "photos" / "train" / "p1.png").pixels[:40]
    write_picture(tmp_path / "bad" / "long" / "p1.png", cut)
    with pytest.raises(TrainingError) as caught:
        run(LOWLIGHT, overrides=[*small, f"data.train.root={tmp_path / 'bad'}"], out=tmp_path / "r")
    assert all(text in str(caught.value) for text in ("p1.dng", "p1.png", "48 x 64", "40 x 64"))


def test_a_folder_that_cannot_be_made_or_is_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with refused("train.run-folder-unwritable", tmp_path / "file"):
        create_run_folder(tmp_path / "file", "name")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "x").write_text("x")
    with refused("train.out-not-empty", tmp_path / "used"):
        create_run_folder(tmp_path, "name", tmp_path / "used")
    assert create_run_folder(tmp_path, "n").path != create_run_folder(tmp_path, "n").path


def test_weights_of_another_shape_are_refused_by_name(finished: Result, small: list[str], tmp_path: Path) -> None:
    path = finished.folder / "checkpoints" / "last.pt"
    with refused("data.weights-misfit", "blocks.generate.weights", SpecError):
        run(
            LOWLIGHT,
            overrides=[*small, "blocks.generate.width=3", f"blocks.generate.weights={path}"],
            out=tmp_path / "r",
        )
