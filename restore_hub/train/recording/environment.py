"""What a result depends on besides its spec."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

PACKAGES = ("restore-hub", "torch", "numpy", "onnx", "onnxruntime", "onnxscript", "rawpy", "mlflow")


def environment() -> dict[str, Any]:
    """Return versions, machine, threads, git revision and command."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "packages": {name: _version(name) for name in PACKAGES},
        "revision": _revision(),
        "command": shlex.join(sys.argv),
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
