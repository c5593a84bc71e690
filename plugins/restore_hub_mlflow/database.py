"""MLflow's SQLite file, made whole or not at all."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from pathlib import Path

from filelock import FileLock

from restore_hub.files import write_file

LONGEST_WAIT = 60.0  # seconds, for another process that is making the same file


def make_database(path: Path) -> None:
    """Make a file with MLflow's tables if there is none yet.

    MLflow makes the tables one by one, and never opens a file again that a full disk or a kill left half made. So they
    are made elsewhere first.

    Raises:
        Exception: whatever MLflow, SQLite or the system raises; then there is no file.
    """
    import mlflow

    if path.exists():
        return
    with FileLock(path.with_name(f".{path.name}.lock"), timeout=LONGEST_WAIT), tempfile.TemporaryDirectory() as folder:
        if path.exists():
            return
        made = Path(folder) / "made.db"
        mlflow.MlflowClient(tracking_uri=f"sqlite:///{made}").search_experiments(max_results=1)
        with contextlib.closing(sqlite3.connect(made)) as connection:
            write_file(path, connection.serialize())
