"""`restore-hub compare`: the table on the terminal, and the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from restore_hub.photo.picture_writer import write_picture
from restore_hub.report.comparison import flatten
from support import check
from support.commands import invoke, output


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    folders = []
    for index in (0, 1):
        folder = tmp_path / f"side{index}" / "run"
        (folder / "pictures").mkdir(parents=True)
        stage = {"solver": "std/joint", "steps": 3 + index, "blocks": ["a", "b"]}
        metrics = {"psnr": {"metric": "std/psnr", "inputs": {}}}
        spec = {"name": "n", "seed": index, "data": {}, "stages": [stage], "metrics": metrics}
        (folder / "spec.json").write_text(json.dumps({"spec": spec}))
        (folder / "stages.json").write_text(json.dumps([{"solver": "std/joint", "steps": 3 + index, "seconds": 9.5}]))
        lines = [{"step": step, "loss": 1 / (step + index)} for step in range(1, 4 + index)]
        lines.append({"step": 3 + index, "holdout/psnr": 20.5 + index})
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        for role in ("output", "reference"):
            write_picture(folder / "pictures" / f"0-p-{role}.png", np.full((8, 8, 3), 0.3 + index / 3))
        folders.append(folder)
    return folders


def test_the_table_and_the_page(runs: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "c.html"
    rows = [line.split() for line in output("compare", *runs, "-o", page).splitlines()]
    assert rows[0] == ["side0/run", "side1/run"], "named by what tells them apart"
    for row in (
        ["seed", "0", "1"],
        ["stages.0.steps", "3", "4"],
        ["stage", "1", "steps", "3", "4"],
        ["stage", "1", "seconds", "9.5", "9.5"],
        ["psnr,", "end", "of", "stage", "1", "20.5", "21.5"],
    ):
        assert row in rows
    assert not [row for row in rows if row[:1] in (["name"], ["stages.0.solver"])], "equal values are left out"
    text = page.read_text(encoding="utf-8")
    assert text.count("<polyline") == 4, "two curves in each of two panels"
    for label in ("side0/run", "side1/run", "reference"):
        assert f'<option value="{label}"' in text
    assert "http" not in text.replace("http-equiv", "")


def test_what_compare_refuses(runs: list[Path], tmp_path: Path) -> None:
    check(invoke("compare", runs[0], tmp_path).exception, "train.not-a-run", tmp_path)
    for arguments in ([runs[0]], [runs[0], runs[0]]):
        assert "two different runs" in output("compare", *arguments, exit_code=2)


def test_specs_become_dotted_keys() -> None:
    spec = {"a": {"b": 1}, "c": [{"d": 2}, {"d": []}], "e": ["x", "y"], "f": {}}
    assert flatten(spec) == {"a.b": 1, "c.0.d": 2, "c.1.d": [], "e": ["x", "y"], "f": {}}
