"""The folder of a run: what lies where, written so that no file is ever half there."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from restore_hub.errors import TrainingError
from restore_hub.runtime.images import write_atomic

RECORDED_PACKAGES = ("restore-hub", "torch", "numpy", "onnx", "onnxruntime", "onnxscript", "rawpy", "mlflow")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths inside the folder of one run."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Weights: `stage-N.pt` of each stage's end, `last.pt`, and `best.pt` where there are metrics."""
        return self.path / "checkpoints"

    @property
    def export(self) -> Path:
        """ONNX files."""
        return self.path / "export"

    @property
    def pictures(self) -> Path:
        """Holdout pictures, output beside reference."""
        return self.path / "pictures"

    def write_json(self, name: str, value: Any) -> Path:
        """Write a JSON file whole or not at all."""
        return self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file whole or not at all."""
        path = self.path / name
        write_atomic(path, text.encode())
        return path

    def append_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line to `metrics.jsonl`."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def save_weights(self, name: str, blocks: torch.nn.ModuleDict, about: Mapping[str, Any]) -> Path:
        """Save the state of every block, with plain facts about it, whole or not at all."""
        path = self.checkpoints / f"{name}.pt"
        temporary = path.with_name(path.name + ".part")
        state = {block: module.state_dict() for block, module in blocks.items()}
        torch.save({"blocks": state, "about": dict(about)}, temporary)
        os.replace(temporary, path)
        return path


def create_run_folder(runs: Path, name: str, at: Path | None = None) -> RunFolder:
    """Make `runs/<name>-<date>-<time>` (or `at`) with its subfolders.

    Raises:
        TrainingError: the folder cannot be written, or `at` exists and is not empty.
    """
    path = at or _free(runs / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    if at is not None and at.exists() and (not at.is_dir() or any(at.iterdir())):
        raise TrainingError(f"{at} exists already and is not an empty folder; give another --out")
    folder = RunFolder(path)
    try:
        for part in (folder.path, folder.checkpoints, folder.export, folder.pictures):
            part.mkdir(parents=True, exist_ok=True)
        (folder.path / ".writable").touch()
        (folder.path / ".writable").unlink()
    except OSError as error:
        raise TrainingError(f"the run folder {path} cannot be written: {error.strerror}; choose --runs DIR") from None
    return folder


def environment() -> dict[str, Any]:
    """Return what a result depends on beside the spec: versions, machine, threads, revision."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "packages": {name: _version(name) for name in RECORDED_PACKAGES},
        "revision": _revision(),
        "command": " ".join(sys.argv),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _revision() -> str | None:
    """Return the git revision of the current folder, if it is a checkout."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _free(path: Path) -> Path:
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate
