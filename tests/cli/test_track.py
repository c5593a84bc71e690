"""`restore-hub track` on a run that had no tracker."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from restore_hub import run
from support import LOWLIGHT, check
from support.commands import invoke, output

TRACKER = ("--set", "tracker={tracker: mlflow/tracking}")
SHORT = (
    "stages.0.steps=3",
    "stages.1.steps=2",
    "stages.1.lower.steps=1",
    "validate_every=2",
    "export={chain: enhanced}",
)


def test_a_run_without_a_tracker_is_sent_whole_once_and_errors_are_named(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow, of the extra `train`, is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    done = run(LOWLIGHT, overrides=[*overrides, *SHORT], out=tmp_path / "runs" / "r")

    check(invoke("track", done.folder).exception, "train.no-tracker", done.folder)
    check(invoke("track", tmp_path, *TRACKER).exception, "train.not-a-run", tmp_path)
    sent = output("track", done.folder, *TRACKER)
    assert sent.startswith("tracker   mlflow ui --backend-store-uri sqlite:///")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    run_id = json.loads((done.folder / "tracker.json").read_text())["mlflow.db"]["run"]
    found = client.get_run(run_id)
    assert found.info.status == "FINISHED"
    assert len(found.data.tags["spec_sha256"]) == 64
    assert "revision" in found.data.tags
    assert found.data.params["spec.stages.0.steps"] == "3"
    assert [m.step for m in client.get_metric_history(run_id, "holdout/psnr")] == [2, 3, 5]
    assert "chain.onnx" in [file.path for file in client.list_artifacts(run_id)]

    everything = "nothing to send: the tracker has all of the run\n"
    assert output("track", done.folder, *TRACKER) == everything
    shutil.move(tmp_path / "runs", tmp_path / "moved")
    assert output("track", tmp_path / "moved" / "r", *TRACKER) == everything
