"""Records runs with MLflow."""

from __future__ import annotations

from pathlib import Path

from restore_hub.errors import add_messages
from restore_hub.hookspecs import Register, hookimpl

add_messages(Path(__file__).with_name("messages.toml"))


@hookimpl
def register_trackers(register: Register) -> None:
    register(
        "tracking",
        "restore_hub_mlflow.tracking:Mlflow",
        summary="Parameters, curves, pictures and files of a run in MLflow, by default in a SQLite file",
        references=("https://mlflow.org",),
    )
