"""The MLflow tracker on its SQLite store."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restore_hub.errors import MissingExtraError, TrainingError
from restore_hub_mlflow import tracking
from restore_hub_mlflow.plain import LONGEST_VALUE, flatten, key_of
from restore_hub_mlflow.tracking import Mlflow

SPEC: dict[str, Any] = {
    "name": "demo",
    "data": {"train": {"root": Path("photos"), "crop": 128}},
    "stages": [{"solver": "std/joint", "steps": 5}, {"solver": "std/ibgl", "note": "x" * 9000}],
    "metrics": ["std/psnr"],
    "nothing": {},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests: making its tables takes a second."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def _client(uri: str) -> Any:
    return pytest.importorskip("mlflow", reason="MLflow, of the extra `train`, is not installed").MlflowClient(uri)


def test_a_run_says_nothing_on_the_terminal_and_imports_mlflow_late(store: Path) -> None:
    pytest.importorskip("mlflow", reason="MLflow, of the extra `train`, is not installed")
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from restore_hub_mlflow.tracking import Mlflow\n"
        f"tracker = Mlflow(folder=Path({str(store)!r}))\n"
        "early = 'mlflow' in sys.modules\n"
        "tracker.start('quiet', {'a': 1}, {})\n"
        "tracker.log({'loss': 1.0}, 0)\n"
        "tracker.finish('FAILED')\n"
        "print(json.dumps(early))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert json.loads(result.stdout) is False
    assert result.stderr == ""


def test_flatten_names_every_leaf() -> None:
    flat = flatten(SPEC)
    assert flat["data.train.root"] == "photos"
    assert flat["data.train.crop"] == "128"
    assert flat["stages.1.solver"] == "std/ibgl"
    assert flat["metrics"] == '["std/psnr"]'
    assert flat["nothing"] == "{}"
    assert len(flat["stages.1.note"]) == LONGEST_VALUE
    assert flat["stages.1.note"].endswith("x...")


def test_keys_have_only_allowed_characters() -> None:
    assert key_of("stage 1/|g_l| cos(u,l)") == "stage 1/_g_l_ cos_u_l_"
    assert len(key_of("k" * 300)) == 250


def test_a_whole_run(store: Path, tmp_path: Path) -> None:
    client = _client(f"sqlite:///{store / 'mlflow.db'}")
    tracker = Mlflow(folder=store)
    tracker.start("night", SPEC, {"git": "abc"})
    for step in range(1200):
        tracker.log({"loss": 1 / (step + 1), "|g_l|": math.nan}, step)
    tracker.picture("enhance/0", np.zeros((8, 6, 3), np.uint8), 7)
    model = tmp_path / "model.onnx"
    model.write_bytes(b"onnx")
    tracker.artifact(model)
    line = tracker.finish("FINISHED")

    assert line == f"mlflow ui --backend-store-uri sqlite:///{store / 'mlflow.db'}"
    experiment = client.get_experiment_by_name("restore_hub")
    (run,) = client.search_runs([experiment.experiment_id], "attributes.run_name = 'night'")
    assert run.info.status == "FINISHED"
    assert run.data.tags["git"] == "abc"
    assert run.data.params["stages.0.steps"] == "5"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(s, 1 / (s + 1)) for s in range(1200)]
    assert math.isnan(run.data.metrics["_g_l_"])
    folder = store / "mlartifacts" / run.info.run_id / "artifacts"
    assert (folder / "model.onnx").read_bytes() == b"onnx"
    assert "x" * 9000 in (folder / "spec.yaml").read_text()
    assert [p for p in (folder / "images").iterdir() if "step+7" in p.name]


def test_values_are_sent_in_batches(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="MLflow, of the extra `train`, is not installed")
    tracker = Mlflow(folder=store)
    tracker.start("batches", {"a": 1}, {})
    calls: list[int] = []
    monkeypatch.setattr(tracker._client, "log_batch", lambda _, metrics: calls.append(len(metrics)))
    clock = 0.0
    monkeypatch.setattr(tracking.time, "monotonic", lambda: clock)
    tracker._flushed = 0.0
    for step in range(334):
        tracker.log({"a": 1.0, "b": 2.0, "c": 3.0}, step)
    assert calls == [1000, 2]  # 1002 values, never more than 1000 a call
    tracker.log({"a": 1.0}, 334)
    assert len(calls) == 2
    clock = tracking.FLUSH_SECONDS
    tracker.log({"a": 1.0}, 335)
    assert calls[2:] == [2]
    tracker.log({"a": 1.0}, 336)
    tracker.finish("KILLED")
    assert calls[3:] == [1]


def test_uri_comes_from_the_option_then_the_variable_then_the_folder(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Mlflow(folder=store).uri == f"sqlite:///{store / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example")
    assert Mlflow(folder=store).uri == "http://tracking.example"
    assert Mlflow(uri="sqlite:///other.db", folder=store).uri == "sqlite:///other.db"


def test_store_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="MLflow, of the extra `train`, is not installed")
    with pytest.raises(TrainingError, match="cannot open nonsense://there"):
        Mlflow(uri="nonsense://there", folder=tmp_path).start("x", {}, {})


def test_missing_mlflow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtraError, match=r"restore-hub\[train\]"):
        Mlflow(folder=tmp_path).start("x", {}, {})
