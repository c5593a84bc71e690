"""Runs exported ONNX files on RAW and RGB pictures. Nothing here imports torch.

Importing this package imports nothing: the command line reads the names of devices from it, and `restore-hub doctor`
has to start where onnxruntime does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["Chained", "Model", "Restored", "RestoredFolder", "Result", "load", "restore", "restore_folder"]

if TYPE_CHECKING:
    from restore_hub.runtime.batch import RestoredFolder, Result, restore_folder
    from restore_hub.runtime.chained import Chained, load
    from restore_hub.runtime.model import Model
    from restore_hub.runtime.photo import Restored, restore

_LAZY = {
    "Chained": "restore_hub.runtime.chained",
    "Model": "restore_hub.runtime.model",
    "Restored": "restore_hub.runtime.photo",
    "RestoredFolder": "restore_hub.runtime.batch",
    "Result": "restore_hub.runtime.batch",
    "load": "restore_hub.runtime.chained",
    "restore": "restore_hub.runtime.photo",
    "restore_folder": "restore_hub.runtime.batch",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'restore_hub.runtime' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
