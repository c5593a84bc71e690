"""The tracker; it imports MLflow itself when a run starts."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from restore_hub.contracts import Scalar
from restore_hub.errors import MissingExtraError, TrainingError, reason_of
from restore_hub_mlflow.database import make_database
from restore_hub_mlflow.model import log_model
from restore_hub_mlflow.plain import flatten, key_of, plain

PARAMS_A_CALL = 100  # MLflow's limit
LOCAL = "mlflow.db"


class Mlflow:
    """One MLflow run.

    Args:
        uri: tracking server or database; by default `MLFLOW_TRACKING_URI`, or else a SQLite file in `folder`.
        experiment: name of the experiment, which is made if it doesn't exist.
        folder: where `mlflow.db` and `mlartifacts` go if neither `uri` nor the variable is set.
    """

    def __init__(self, uri: str | None = None, experiment: str = "restore_hub", folder: Path = Path("runs")) -> None:
        self.experiment = experiment
        given = uri or os.environ.get("MLFLOW_TRACKING_URI")
        folder = Path(folder).resolve()
        self.uri = given or f"sqlite:///{folder / LOCAL}"
        self.store = _without_password(given) if given else LOCAL  # relative, since the folder of runs may move
        self._local = None if given else folder
        place = self.uri.partition("?")[0]
        self._file = Path(place.removeprefix("sqlite:///")) if place.startswith("sqlite:///") else None
        self._client: Any = None
        self._run_id = ""

    def check(self) -> None:
        """Import MLflow, check the kind of address, and make the folder of a SQLite file.

        Raises:
            MissingExtraError: MLflow is not installed.
            TrainingError: an address of a kind that MLflow doesn't know, or a folder that can't be made.
        """
        mlflow = _import_quietly()
        try:
            if self._file:
                self._file.parent.mkdir(parents=True, exist_ok=True)
            elif not re.match(r"(postgresql|mysql|mssql)\b", self.uri):  # making a client would connect to these
                mlflow.MlflowClient(tracking_uri=self.uri)
        except Exception as error:
            raise TrainingError("mlflow.cannot-open", self.store, cause=reason_of(error)) from error

    def start(self, name: str, tags: Mapping[str, str], run: str = "") -> str:
        """Open a run, or continue one; return its id."""
        mlflow = _import_quietly()
        if self._file:
            make_database(self._file)
        self._client = mlflow.MlflowClient(tracking_uri=self.uri)
        if run and self._is_there(run):
            self._client.update_run(run, status="RUNNING")
            self._run_id = run
        else:
            made = self._client.create_run(self._experiment_id(), run_name=name, tags=dict(tags))
            self._run_id = made.info.run_id
        return self._run_id

    def params(self, params: Mapping[str, Any]) -> None:
        """Record the spec as parameters `a.b.c`, and all of it as the file `spec.yaml`."""
        from mlflow.entities import Param

        entries = [Param(key, value) for key, value in flatten(params).items()]
        for first in range(0, len(entries), PARAMS_A_CALL):
            self._client.log_batch(self._run_id, params=entries[first : first + PARAMS_A_CALL], synchronous=True)
        self._client.log_dict(self._run_id, plain(params), "spec.yaml")

    def log(self, scalars: Sequence[Scalar]) -> None:
        """Record at most 1000 scalars in one call; MLflow's databases drop duplicates."""
        from mlflow.entities import Metric

        metrics = [Metric(key_of(s.name), float(s.value), round(s.time * 1000), s.step) for s in scalars]
        self._client.log_batch(self._run_id, metrics=metrics, synchronous=True)

    def picture(self, name: str, image: NDArray[np.uint8], step: int) -> None:
        """Record a picture (H, W, 3) uint8 under its name and step."""
        self._client.log_image(self._run_id, image, key=key_of(name), step=step, synchronous=True)

    def artifact(self, path: Path, *, model: bool = False) -> None:
        """Record a file; an ONNX file that is the result of the run also becomes an MLflow model."""
        self._client.log_artifact(self._run_id, str(path))
        if model:
            log_model(self._client, self._run_id, path)

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> str:
        """Close the run, and return the line that opens it in a browser."""
        self._client.set_terminated(self._run_id, status)
        if self.uri.startswith(("http:", "https:")):
            experiment = self._client.get_run(self._run_id).info.experiment_id
            return f"{self.store.rstrip('/')}/#/experiments/{experiment}/runs/{self._run_id}"
        return f"mlflow ui --backend-store-uri {_without_password(self.uri)}"

    def _is_there(self, run: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            found = self._client.get_run(run)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return bool(found.info.lifecycle_stage == "active")

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        if found is not None:
            return str(found.experiment_id)
        place = (self._local / "mlartifacts").as_uri() if self._local else None
        return str(self._client.create_experiment(self.experiment, artifact_location=place))


def _import_quietly() -> Any:
    """Import MLflow without its chatter and usage reports, and with short waits: the tracker's thread tries again."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    try:
        import mlflow
    except ImportError as error:
        raise MissingExtraError("mlflow.not-installed", cause=error) from error
    for noisy in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)  # errors are raised anyway, without tracebacks
    return mlflow


def _without_password(uri: str) -> str:
    return re.sub(r"(//[^/@:]*):[^/@]*@", r"\1:***@", uri)
