"""Records runs with MLflow."""

from __future__ import annotations

from restore_hub.hookspecs import Register, hookimpl


@hookimpl
def register_trackers(register: Register) -> None:
    register(
        "tracking",
        "restore_hub_mlflow.tracking:Mlflow",
        summary="Parameters, curves, pictures and files of a run in MLflow, in a SQLite file unless told otherwise",
        references=("https://mlflow.org",),
    )
