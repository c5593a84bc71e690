"""Every shipped pipeline checks, and runs small from data to ONNX."""

from __future__ import annotations

from pathlib import Path

import pytest

from restore_hub import run
from restore_hub.plan import make_plan
from restore_hub.plan.dry_run import dry_run
from restore_hub.plan.shipped import shipped_pipelines
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from restore_hub.train.recording import tracker_thread
from support import PIPELINES

# What makes each pipeline small; a new pipeline needs its line here.
SMALL = {
    "raw_lowlight": [
        *(f"blocks.generate.{size}" for size in ("width=2", "depth=1")),
        *(f"data.{split}.crop=16" for split in ("train", "upper")),
        *(f"stages.{stage}.steps=2" for stage in (0, 1)),
    ],
    "few_references": [
        *(f"blocks.generate.{size}" for size in ("width=2", "depth=1")),
        *(f"data.{split}.crop=16" for split in ("references", "dark")),
        *(f"stages.{stage}.steps=2" for stage in (0, 1)),
    ],
    "raw_denoise": ["blocks.denoise.width=2", "blocks.denoise.depth=1", "data.train.crop=16", "stages.0.steps=2"],
}

# Those of a problem, which have no pictures and export nothing.
PROBLEMS = {
    "numerical": ["problem.n=5", "stages.0.steps=2"],
    "hyper_cleaning": [
        *(f"problem.{split}=40" for split in ("train", "validation", "test")),
        "problem.batch_size=20",
        "stages.0.groups=10",
        "stages.0.steps=2",
    ],
}


UNTRAINED = ["sci"]  # made of published weights; see tests/plugins/retinex/test_published.py


def test_all_pipelines_are_found() -> None:
    shipped = {path.stem for path in PIPELINES.glob("*.yaml")}
    assert set(shipped_pipelines()) == shipped == {*SMALL, *PROBLEMS, *UNTRAINED}


@pytest.fixture(autouse=True)
def _patient_local_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(tracker_thread, "FINISH_SECONDS", 120.0)  # a busy machine takes long to make the database


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_checks_as_it_is_shipped_and_runs_small(name: str, tmp_path: Path) -> None:
    if name == "hyper_cleaning":
        pytest.importorskip("sklearn", reason="scikit-learn, of the extra demo, is not installed")
    found = dry_run(make_plan(read_spec(shipped_pipelines()[name]), default_registry()))
    assert found.shapes
    assert len(found.costs) == 1
    result = run(name, overrides=PROBLEMS[name], out=tmp_path / "runs" / "r")
    assert result.exported == ()
    assert list(result.metrics) == list(read_spec(shipped_pipelines()[name]).data["metrics"])
    assert "mlflow" in result.where


@pytest.mark.parametrize("name", [*SMALL, *UNTRAINED])
def test_it_checks_as_it_is_shipped(name: str) -> None:
    found = dry_run(make_plan(read_spec(shipped_pipelines()[name]), default_registry()))
    assert found.shapes
    assert all("does not exist here" in remark for remark in found.remarks)


def _root(pairs: Path, split: str, dataset: str) -> Path:
    """Return a folder of the test's photographs that a data set can read; no two splits have the same."""
    split = {"references": "upper", "dark": "train"}.get(split, split)
    return {"raw/pairs": pairs / split, "raw/folder": pairs / split / "short"}.get(dataset, pairs / "photos" / split)


@pytest.mark.parametrize("name", SMALL)
def test_it_runs_small_with_its_tracker(name: str, pairs: Path, tmp_path: Path) -> None:
    spec = shipped_pipelines()[name]
    splits = read_spec(spec).data["data"]
    roots = [f"data.{split}.root={_root(pairs, split, use['dataset'])}" for split, use in splits.items()]
    result = run(spec, overrides=[*SMALL[name], *roots], out=tmp_path / "runs" / "r")
    assert [path.name for path in result.exported][-1] == "chain.onnx"
    assert "mlflow" in result.where
    assert (tmp_path / "runs" / "mlflow.db").is_file(), "the tracker's store lies beside the runs"
