"""MLflow's SQLite file, which appears whole or not at all."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from pathlib import Path

from filelock import FileLock

from restore_hub.files import write_file

LONGEST_WAIT = 60.0  # seconds, for another process that makes the same file


def make_database(path: Path) -> None:
    """Make MLflow's tables in a file, where there is none yet.

    MLflow itself makes them one by one in the file, and one that a full disk or a kill left half made it never opens
    again. They are therefore made elsewhere first.

    Raises:
        Exception: whatever MLflow, SQLite or the system raises; there is no file then.
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
