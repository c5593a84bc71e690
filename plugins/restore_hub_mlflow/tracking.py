"""The tracker; MLflow itself is imported when a run starts."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import MissingExtraError, TrainingError
from restore_hub_mlflow.plain import flatten, key_of

if TYPE_CHECKING:
    from mlflow.entities import Metric

FLUSH_VALUES = 1000  # the most that MLflow takes in one call
FLUSH_SECONDS = 5.0
PARAMS_A_CALL = 100


class Mlflow:
    """One MLflow run, with buffered values: one call to the store for up to 1000 of them or every 5 seconds.

    Args:
        uri: tracking server or database; by default `MLFLOW_TRACKING_URI`, else a SQLite file in `folder`.
        experiment: name of the experiment, made when it does not exist.
        folder: where `mlflow.db` and `mlartifacts` go when neither a `uri` nor the variable is given.
    """

    def __init__(self, uri: str | None = None, experiment: str = "restore_hub", folder: Path = Path("runs")) -> None:
        self.experiment = experiment
        given = uri or os.environ.get("MLFLOW_TRACKING_URI")
        folder = Path(folder).resolve()
        self.uri = given or f"sqlite:///{folder / 'mlflow.db'}"
        self._local = None if given else folder
        self._client: Any = None
        self._run_id = ""
        self._buffer: list[Metric] = []
        self._flushed = 0.0

    def start(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Open a run; `params` become parameters `a.b.c` and the whole of them the file `spec.yaml`.

        Raises:
            MissingExtraError: MLflow is not installed.
            TrainingError: the store cannot be opened.
        """
        mlflow = _import_quietly()
        if self._local:
            self._local.mkdir(parents=True, exist_ok=True)
        try:
            self._client = mlflow.MlflowClient(tracking_uri=self.uri)
            run = self._client.create_run(self._experiment_id(), run_name=name, tags=dict(tags))
        except Exception as error:
            raise TrainingError(
                f"MLflow cannot open {self.uri}: {error}; mend `uri` or MLFLOW_TRACKING_URI, or use no tracker"
            ) from error
        self._run_id = run.info.run_id
        self._flushed = time.monotonic()
        entries = [mlflow.entities.Param(key, value) for key, value in flatten(params).items()]
        for first in range(0, len(entries), PARAMS_A_CALL):
            self._client.log_batch(self._run_id, params=entries[first : first + PARAMS_A_CALL])
        self._client.log_dict(self._run_id, _plain(params), "spec.yaml")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Buffer scalars of a step; sends them when there are 1000 or five seconds have gone by."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._buffer += [Metric(key_of(name), float(value), now, step) for name, value in metrics.items()]
        if len(self._buffer) >= FLUSH_VALUES or time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self._flush()

    def picture(self, name: str, image: NDArray[np.uint8], step: int) -> None:
        """Record a picture (H, W, 3) uint8 under its name and step."""
        self._client.log_image(self._run_id, image, key=key_of(name), step=step)

    def artifact(self, path: Path) -> None:
        """Record a file."""
        self._client.log_artifact(self._run_id, str(path))

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> str:
        """Send what is left, close the run, and return the line that opens it in a browser."""
        self._flush()
        self._client.set_terminated(self._run_id, status)
        if self.uri.startswith(("http:", "https:")):
            experiment = self._client.get_run(self._run_id).info.experiment_id
            return f"{self.uri.rstrip('/')}/#/experiments/{experiment}/runs/{self._run_id}"
        return f"mlflow ui --backend-store-uri {self.uri}"

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        if found is not None:
            return str(found.experiment_id)
        place = (self._local / "mlartifacts").as_uri() if self._local else None
        return str(self._client.create_experiment(self.experiment, artifact_location=place))

    def _flush(self) -> None:
        for first in range(0, len(self._buffer), FLUSH_VALUES):
            self._client.log_batch(self._run_id, metrics=self._buffer[first : first + FLUSH_VALUES])
        self._buffer.clear()
        self._flushed = time.monotonic()


def _import_quietly() -> Any:
    """Import MLflow without its chatter about git and database migrations, and without its usage reports."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    try:
        import mlflow
    except ImportError as error:
        raise MissingExtraError(
            f"the tracker mlflow/tracking needs MLflow ({error}): pip install 'restore-hub[train]', or use no tracker"
        ) from error
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return mlflow


def _plain(value: Any) -> Any:
    """Return nested plain values, paths and the like as text, for YAML."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
