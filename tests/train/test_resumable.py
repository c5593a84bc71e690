"""Which run `--resume` takes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from restore_hub import run
from restore_hub.train.recording.find_run import find_unfinished
from restore_hub.train.recording.folder import RunFolder
from restore_hub.train.run import Result
from support import LOWLIGHT, refused
from support.runs import same, stop_after


def test_resume_finds_the_newest_unfinished_run_of_the_same_spec(frequent: list[str], tmp_path: Path) -> None:
    def begin(name: str, *more: str) -> None:
        folder = run(LOWLIGHT, overrides=[*frequent, *more], out=tmp_path / name).folder
        (folder / "status.json").write_text('{"status": "KILLED"}')

    begin("raw_lowlight-1")
    begin("raw_lowlight-2", "seed=1")
    before = (tmp_path / "raw_lowlight-2" / "metrics.jsonl").read_bytes()
    assert run(LOWLIGHT, overrides=frequent, runs=tmp_path, resume=True).folder == tmp_path / "raw_lowlight-1"
    assert (tmp_path / "raw_lowlight-2" / "metrics.jsonl").read_bytes() == before
    fresh = run(LOWLIGHT, overrides=frequent, runs=tmp_path, resume=True).folder
    assert fresh not in (tmp_path / "raw_lowlight-1", tmp_path / "raw_lowlight-2"), "both others are no match"


def test_what_cannot_be_resumed_is_refused(frequent: list[str], whole: Result, tmp_path: Path) -> None:
    with refused("train.finished", whole.folder):
        run(LOWLIGHT, overrides=frequent, out=whole.folder, resume=True)
    with refused("train.other-spec", whole.folder, differences="seed 0 -> 1"):
        run(LOWLIGHT, overrides=[*frequent, "seed=1"], out=whole.folder, resume=True)
    with refused("train.other-spec", whole.folder, differences="stages.1.lower.lr 0.0001 -> 0.1"):
        run(LOWLIGHT, overrides=[*frequent, "stages.1.lower.lr=0.1"], out=whole.folder, resume=True)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "spec.json").write_text("{")
    with refused("train.not-a-run", tmp_path / "odd"):
        run(LOWLIGHT, overrides=frequent, out=tmp_path / "odd", resume=True)


def test_another_spec_is_told_by_a_few_short_differences(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    folder.mkdir()
    stages = [{"solver": "std/joint"}, {"solver": "std/rhg", "blocks": ["a", "b"]}]
    saved = {
        "source": "a.yaml",
        "spec": {"stages": stages, "long": "x" * 500, "size": (3, 4), "seed": 0},
        "restore_hub": "1",
    }
    (folder / "spec.json").write_text(json.dumps(saved))
    assert find_unfinished(tmp_path, "r", {**saved, "source": "b.yaml"}, folder) == RunFolder(folder)
    (folder / "last.pt").touch()  # something of worth
    assert find_unfinished(tmp_path, "r", {**saved, "source": "b.yaml"}, folder) == RunFolder(folder)

    changed = [stages[0], {**stages[1], "blocks": ["a"], "last": 2}, {"solver": "std/cg", "steps": 3, "minutes": 1}]
    spec = {"stages": changed, "long": "y" * 500, "size": [3, 4], "seed": 1}
    with refused("train.other-spec", folder) as caught:
        find_unfinished(tmp_path, "r", {"spec": spec, "restore_hub": "2"}, folder)
    assert caught.value.facts["differences"] == (
        "stages.1.blocks ['a', 'b'] -> ['a'], stages.1.last nothing -> 2, "
        "stages.2 nothing -> {'solver': 'std/cg', 'steps': 3, 'minutes': 1}, "
        f"long '{'x' * 58}… -> '{'y' * 58}…, seed 0 -> 1, and 1 more"
    )


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda state: state["machine"].update(threads=99), "train.conditions-differ"),
        (lambda state: state["machine"].update(torch="1.0"), "train.conditions-differ"),
        (lambda state: state.update(version=1), "train.state-version"),
        (lambda state: state.clear(), "train.state-unreadable"),
    ],
)
def test_states_with_other_bits(frequent: list[str], whole: Result, tmp_path: Path, spoil: Any, code: str) -> None:
    stop_after(1, overrides=frequent, out=tmp_path / "r")
    path = tmp_path / "r" / "checkpoints" / "state.pt"
    state = torch.load(path)
    spoil(state)
    torch.save(state, path)
    before = path.read_bytes()
    with refused(code, path):
        run(LOWLIGHT, overrides=frequent, out=tmp_path / "r", resume=True)
    assert path.read_bytes() == before
    if code == "train.conditions-differ":
        run(LOWLIGHT, overrides=frequent, out=tmp_path / "r", resume=True, inexact=True)
        same(tmp_path / "r", whole.folder)
