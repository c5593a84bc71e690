"""A run over data of which some files are damaged: what it says, records, and when it ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from restore_hub import run
from restore_hub.errors import DataError, SpecError, TrainingError
from restore_hub.plan import make_plan
from restore_hub.plan.dry_run import dry_run
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from support import LOWLIGHT, Capture, refused
from support.plugin_files import WritePlugin

SHORT = ("stages.0.steps=4", "stages.1.steps=1", "stages.1.lower.steps=1")


@pytest.fixture
def damaged(pairs: Path, tmp_path: Path) -> dict[str, Path]:
    """Return `train` with one of two pairs cut off, and a `holdout` with one good and one cut off."""
    roots = {split: tmp_path / split for split in ("train", "holdout")}
    shutil.copytree(pairs / "train", roots["train"])
    shutil.copytree(pairs / "holdout", roots["holdout"])
    for side in ("short", "long"):
        good = roots["holdout"] / side / "p4.dng"
        (roots["holdout"] / side / "p9.dng").write_bytes(good.read_bytes()[:-2000])
    cut = roots["train"] / "short" / "p1.dng"
    cut.write_bytes(cut.read_bytes()[:-2000])
    return roots


def _overrides(small: list[str], roots: dict[str, Path]) -> list[str]:
    return [*small, *SHORT, *(f"data.{split}.root={root}" for split, root in roots.items())]


def test_damaged_files_are_left_out(
    small: list[str], damaged: dict[str, Path], tmp_path: Path, capsys: Capture
) -> None:
    result = run(LOWLIGHT, overrides=[*_overrides(small, damaged), "validate_every=1"], out=tmp_path / "r")
    said = capsys.readouterr().err.splitlines()
    cut = damaged["train"] / "short" / "p1.dng"
    assert len([line for line in said if line.startswith(f"left out of 'train': {cut}: ")]) == 1
    assert len([line for line in said if line.startswith("left out of 'holdout': ")]) == 1
    assert any(line.startswith(f"left out 1 of 2 samples of 'train': {cut}: ") for line in said)
    assert any("holdout psnr" in line and "(without 1 of 2 pictures, left out)" in line for line in said)
    recorded = [json.loads(line) for line in (result.folder / "left_out.jsonl").read_text().splitlines()]
    assert [line["split"] for line in recorded] == ["train", "holdout"]
    assert recorded[0]["files"] == [str(cut), str(damaged["train"] / "long" / "p1.dng")]
    assert recorded[0]["reason"].startswith(f"{cut}: ")
    facts = json.loads((result.folder / "data.json").read_text())
    assert facts["train"] == {"samples": 2, "notes": []}
    assert result.metrics["psnr"] > 0


@pytest.mark.parametrize(("split", "file"), [("train", "p1"), ("holdout", "p9")])
def test_strict_splits(small: list[str], damaged: dict[str, Path], tmp_path: Path, split: str, file: str) -> None:
    with pytest.raises((TrainingError, DataError)) as caught:
        run(LOWLIGHT, overrides=[*_overrides(small, damaged), f"data.{split}.strict=true"], out=tmp_path / "r")
    assert f"{split}/short/{file}.dng" in caught.value.place


def test_a_run_over_sound_files_says_nothing(small: list[str], tmp_path: Path, capsys: Capture) -> None:
    result = run(LOWLIGHT, overrides=[*small, *SHORT], out=tmp_path / "r")
    assert "left out" not in capsys.readouterr().err
    assert not (result.folder / "left_out.jsonl").exists()


NOTED = """
import numpy as np
from pathlib import Path
from restore_hub import hookimpl
from restore_hub.contracts import Port


class Noted:
    ports = {"raw": Port(4, "raw", scale=0.5), "rgb": Port(3)}

    def __init__(self, count: int = 2):
        self.count, self.notes = count, ("scene 7 is left out",)

    def __len__(self):
        return self.count

    def files(self, index):
        return (Path(__file__),)

    def sample(self, index, rng):
        return {"raw": np.full((4, 8, 8), 0.2, np.float32), "rgb": np.full((3, 16, 16), 0.5, np.float32)}


@hookimpl
def register_datasets(register):
    register("x", "noted:Noted", summary="a dataset with a note")
"""


@pytest.fixture
def noted(write_plugin: WritePlugin) -> Path:
    """Return a plugin file with a dataset that has a note."""
    return write_plugin("noted", NOTED)


def _with_noted(small: list[str], count: int = 2) -> list[str]:
    kept = [o for o in small if not o.startswith("data.train.")]
    return [*kept, *SHORT, f"data.train={{dataset: noted/x, count: {count}}}"]


def test_notes_are_printed_and_recorded(small: list[str], noted: Path, tmp_path: Path, capsys: Capture) -> None:
    plan = make_plan(read_spec(LOWLIGHT, _with_noted(small)), default_registry([noted]))
    assert "data.train: scene 7 is left out" in dry_run(plan).remarks
    result = run(LOWLIGHT, overrides=_with_noted(small), plugins=[noted], out=tmp_path / "r")
    assert "data.train: scene 7 is left out" in capsys.readouterr().err.splitlines()
    assert json.loads((result.folder / "data.json").read_text())["train"]["notes"] == ["scene 7 is left out"]


def test_a_split_without_samples_is_refused_with_its_place(small: list[str], noted: Path, tmp_path: Path) -> None:
    with refused("data.no-samples", "data.train", SpecError):
        run(LOWLIGHT, overrides=_with_noted(small, count=0), plugins=[noted], out=tmp_path / "r")
    assert not (tmp_path / "r").exists()
