"""The MLflow tracker on its SQLite store."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restore_hub.contracts import Scalar
from restore_hub.errors import MissingExtraError
from restore_hub.train.recording import tracker_thread
from restore_hub.train.recording.folder import RunFolder
from restore_hub.train.recording.recorder import Recorder
from restore_hub_mlflow.plain import LONGEST_VALUE, flatten, key_of
from restore_hub_mlflow.tracking import Mlflow
from support import LOWLIGHT, refused
from support.fresh import fresh_python

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


@pytest.fixture
def mlflow() -> Any:
    return pytest.importorskip("mlflow", reason="MLflow, of the extra `train`, is not installed")


@pytest.fixture
def client(mlflow: Any, store: Path) -> Any:
    return mlflow.MlflowClient(f"sqlite:///{store / 'mlflow.db'}")


QUIET = """
import sys
from pathlib import Path
from restore_hub.contracts import Scalar
from restore_hub_mlflow.tracking import Mlflow
tracker = Mlflow(folder=Path(sys.argv[1]))
print("mlflow" in sys.modules)
tracker.check()
tracker.start("quiet", {})
tracker.params({"a": 1})
tracker.log([Scalar("loss", 1.0, 0, 1e9)])
tracker.finish("FAILED")
"""


@pytest.mark.usefixtures("mlflow")
def test_a_run_says_nothing_on_the_terminal_and_imports_mlflow_late(store: Path) -> None:
    done = fresh_python(QUIET, store)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_flatten_names_every_leaf() -> None:
    flat = flatten(SPEC)
    assert (flat["data.train.root"], flat["data.train.crop"]) == ("photos", "128")
    assert flat["stages.1.solver"] == "std/ibgl"
    assert (flat["metrics"], flat["nothing"]) == ('["std/psnr"]', "{}")
    assert len(flat["stages.1.note"]) == LONGEST_VALUE
    assert flat["stages.1.note"].endswith("x...")


def test_keys_have_only_allowed_characters() -> None:
    assert key_of("stage 1/|g_l| cos(u,l)") == "stage 1/_g_l_ cos_u_l_"
    assert len(key_of("k" * 300)) == 250


def test_a_whole_run(store: Path, tmp_path: Path, client: Any) -> None:
    tracker = Mlflow(folder=store)
    tracker.check()
    run_id = tracker.start("night", {"git": "abc"})
    tracker.params(SPEC)
    tracker.log([Scalar("loss", 1 / (step + 1), step, 1e9 + step) for step in range(500)])
    tracker.log([Scalar("|g_l|", math.nan, 7, 1e9)])
    tracker.picture("enhance/0", np.zeros((8, 6, 3), np.uint8), 7)
    model = tmp_path / "model.onnx"
    model.write_bytes(b"onnx")
    tracker.artifact(model)
    line = tracker.finish("FINISHED")

    assert line == f"mlflow ui --backend-store-uri sqlite:///{store / 'mlflow.db'}"
    run = client.get_run(run_id)
    assert run.info.run_name == "night"
    assert run.info.status == "FINISHED"
    assert run.data.tags["git"] == "abc"
    assert run.data.params["stages.0.steps"] == "5"
    history = client.get_metric_history(run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(s, 1 / (s + 1)) for s in range(500)]
    assert [m.timestamp for m in history][:2] == [10**12, 10**12 + 1000]
    assert math.isnan(run.data.metrics["_g_l_"])
    folder = store / "mlartifacts" / run_id / "artifacts"
    assert (folder / "model.onnx").read_bytes() == b"onnx"
    assert "x" * 9000 in (folder / "spec.yaml").read_text()
    assert [p for p in (folder / "images").iterdir() if "step+7" in p.name]


def test_a_run_is_gone_on_with_unless_the_store_lost_it(store: Path, client: Any) -> None:
    first = Mlflow(folder=store)
    run_id = first.start("stopped", {})
    batch = [Scalar("loss", 1.0, step, 1e9) for step in range(5)]
    first.log(batch)
    first.finish("KILLED")

    again = Mlflow(folder=store)
    assert again.start("stopped", {}, run_id) == run_id
    assert client.get_run(run_id).info.status == "RUNNING"
    again.log([*batch, Scalar("loss", 1.0, 5, 1e9)])  # as where the answer to the first call was lost
    assert [m.step for m in client.get_metric_history(run_id, "loss")] == list(range(6))
    client.delete_run(run_id)
    assert again.start("stopped", {}, run_id) != run_id
    assert again.start("stopped", {}, "0" * 32) != "0" * 32


def test_an_onnx_file_becomes_a_model_with_its_inputs_and_free_sizes(store: Path, models: Path, client: Any) -> None:
    tracker = Mlflow(folder=store)
    run_id = tracker.start("model", {})
    tracker.artifact(models / "chain.onnx", model=True)
    tracker.finish("FINISHED")

    (output,) = client.get_run(run_id).outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert (logged.name, logged.status, logged.source_run_id) == ("chain", "READY", run_id)
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(logged.artifact_location)
    signature = model.metadata.signature
    assert signature.inputs.input_names()[0] == "mosaic"
    assert signature.inputs.inputs[0].shape == (1, 1, -1, -1)
    assert [tensor.shape for tensor in signature.outputs.inputs] == [(1, 3, -1, -1)]
    for height, width in ((32, 48), (50, 34)):
        feed = {one.name: np.ones([max(size, 1) for size in one.shape], one.type) for one in signature.inputs}
        feed["mosaic"] = np.full((1, 1, height, width), 0.5, np.float32)
        (name,) = signature.outputs.input_names()
        assert model.predict(feed)[name].shape == (1, 3, height, width)


def test_a_locked_database_keeps_no_value_and_no_step_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, mlflow: Any
) -> None:
    monkeypatch.setattr(tracker_thread, "EVERY_SECONDS", 0.02)
    monkeypatch.setattr(tracker_thread, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(tracker_thread, "FINISH_SECONDS", 60.0)
    monkeypatch.setattr(tracker_thread, "SLOW_SECONDS", 0.3)  # MLflow itself waits 20 seconds for the lock
    database = tmp_path / "m.db"
    uri = f"sqlite:///{database}"
    client = mlflow.MlflowClient(uri)
    recorder = _recorder(tmp_path, uri)
    client.create_experiment("restore_hub", artifact_location=(tmp_path / "a").as_uri())
    recorder.start("locked", {"a": 1}, {})
    recorder.values(1, {"loss": 1.0})
    _until(lambda: _sent(tmp_path / "r", uri) == 1)
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for step in range(2, 301):
            recorder.values(step, {"loss": 1 / step})
        printed: list[str] = []

        def unreachable() -> bool:
            printed.append(capsys.readouterr().err)
            return "the tracker is unreachable" in "".join(printed)

        _until(unreachable)
        other.execute("ROLLBACK")
    recorder.finish("FINISHED")
    assert "the tracker is back" in capsys.readouterr().err
    run_id = _noted(tmp_path / "r", uri)["run"]
    assert [m.step for m in client.get_metric_history(run_id, "loss")] == list(range(1, 301))
    assert client.get_run(run_id).info.status == "FINISHED"


def test_a_database_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow: Any) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("restore_hub_mlflow.database.write_file", full)
        with pytest.raises(OSError, match="No space left"):
            Mlflow(folder=tmp_path).start("first", {})
        assert not (tmp_path / "mlflow.db").exists()
    Mlflow(folder=tmp_path).start("second", {})
    before = (tmp_path / "mlflow.db").stat().st_ino
    Mlflow(folder=tmp_path).start("third", {})
    assert (tmp_path / "mlflow.db").stat().st_ino == before
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("restore_hub").experiment_id
    assert sorted(run.info.run_name for run in client.search_runs([experiment])) == ["second", "third"]


@pytest.mark.long
def test_a_server_that_is_killed_and_started_again_gets_every_value_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow: Any
) -> None:
    monkeypatch.setattr(tracker_thread, "EVERY_SECONDS", 0.1)
    monkeypatch.setattr(tracker_thread, "FINISH_SECONDS", 60.0)
    port = _free_port()
    uri = f"http://127.0.0.1:{port}"
    recorder = _recorder(tmp_path, uri)
    with _server(tmp_path, port):
        recorder.start("served", {"a": 1}, {})
        for step in range(1, 2001):
            recorder.values(step, {"loss": 1 / step})
        _until(lambda: _sent(tmp_path / "r", uri) > 0)
    for step in range(2001, 4001):
        recorder.values(step, {"loss": 1 / step})
    with _server(tmp_path, port):
        assert recorder.finish("FINISHED").startswith(f"{uri}/#/experiments/")
        history = mlflow.MlflowClient(uri).get_metric_history(_noted(tmp_path / "r", uri)["run"], "loss")
        assert [m.step for m in history] == list(range(1, 4001))


@pytest.mark.long
def test_a_run_whose_server_is_killed_for_good_ends_with_a_line_and_track_sends_the_rest(
    overrides: list[str], tmp_path: Path, mlflow: Any
) -> None:
    port = _free_port()
    uri, out = f"http://127.0.0.1:{port}", tmp_path / "r"
    steps = ("stages.0.steps=1200", "stages.1.steps=2", "stages.1.lower.steps=2", "validate_every=400")
    sets = [*overrides, *steps, f"tracker={{tracker: mlflow/tracking, uri: '{uri}'}}"]
    command = [sys.executable, "-m", "restore_hub", "run", str(LOWLIGHT), "--out", str(out)]
    command += [part for override in sets for part in ("--set", override)]
    with _server(tmp_path, port):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        _until(lambda: _sent(out, uri) > 0)
        assert process.poll() is None, "it still trains"
    _, said = process.communicate()
    assert (process.returncode, "Traceback" in said) == (0, False), said
    # Whether "away" is said before the end depends on the call that the kill met: one that hangs takes ten seconds.
    assert f"the tracker doesn't have all of the run; `restore-hub track {out}` sends the rest" in said
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert 0 < _sent(out, uri) < lines[-1]["step"] == 1202
    assert json.loads((out / "status.json").read_text()) == {"status": "FINISHED"}

    with _server(tmp_path, port):
        track = [sys.executable, "-m", "restore_hub", "track", str(out)]
        sent, again = (subprocess.run(track, capture_output=True, text=True, check=True).stdout for _ in range(2))
        assert sent.startswith(f"tracker   {uri}/#/experiments/")
        assert "nothing to send" in again
        client = mlflow.MlflowClient(uri)
        run_id = _noted(out, uri)["run"]
        for name in {name for line in lines for name in line} - {"step"}:
            history = [(m.step, m.value) for m in client.get_metric_history(run_id, key_of(name))]
            assert history == [(line["step"], line[name]) for line in lines if name in line], name
        run = client.get_run(run_id)
        assert run.info.status == "FINISHED"
        assert len(run.outputs.model_outputs) == 1
        assert {"chain.onnx", "spec.yaml"} <= {file.path for file in client.list_artifacts(run_id)}


def _recorder(folder: Path, uri: str) -> Recorder:
    """Return a recorder of the run in `folder / "r"`."""
    (folder / "r").mkdir()
    return Recorder(RunFolder(folder / "r"), Mlflow(uri=uri, folder=folder))


def _noted(run: Path, uri: str) -> dict[str, Any]:
    """Return what a run's folder notes about a store."""
    path = run / "tracker.json"
    found: dict[str, Any] = json.loads(path.read_text()).get(uri, {}) if path.exists() else {}
    return found


def _sent(run: Path, uri: str) -> int:
    """Return the last step that is noted as sent."""
    return int(_noted(run, uri).get("step", -1))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def _server(folder: Path, port: int) -> Iterator[None]:
    """An MLflow server in a process group of its own, killed at the end without a word."""
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 's.db'}", "--artifacts-destination", str(folder / "s")]
    with (folder / "server.txt").open("a") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, cwd=folder, start_new_session=True)
    try:
        _until(lambda: _answers(port))
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _until(holds: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.02)


def test_uri_comes_from_the_option_then_the_variable_then_the_folder(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Mlflow(folder=store).uri == f"sqlite:///{store / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example")
    assert Mlflow(folder=store).uri == "http://tracking.example"
    assert Mlflow(uri="sqlite:///other.db", folder=store).uri == "sqlite:///other.db"


@pytest.mark.usefixtures("mlflow")
def test_store_that_cannot_be_opened_is_named_and_a_server_may_be_away(tmp_path: Path) -> None:
    with refused("mlflow.cannot-open", "nonsense://there"):
        Mlflow(uri="nonsense://there", folder=tmp_path).check()
    (tmp_path / "file").write_text("in the way")
    with refused("mlflow.cannot-open"):
        Mlflow(uri=f"sqlite:///{tmp_path}/file/x.db", folder=tmp_path).check()
    Mlflow(uri="http://127.0.0.1:9", folder=tmp_path).check()
    assert int(os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) <= 1


def test_a_password_is_kept_to_itself(tmp_path: Path) -> None:
    assert Mlflow(uri="postgresql://me:secret@host/db", folder=tmp_path).store == "postgresql://me:***@host/db"


def test_missing_mlflow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with refused("mlflow.not-installed", kind=MissingExtraError):
        Mlflow(folder=tmp_path).check()
