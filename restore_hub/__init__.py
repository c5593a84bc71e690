"""Plugin-based image restoration: chains trained by bilevel optimisation, exported to ONNX.

Importing this package imports nothing heavy: `run`, `restore`, `restore_folder` and `load` pull in what they need when
called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "hookimpl", "load", "restore", "restore_folder", "run"]

if TYPE_CHECKING:
    from restore_hub.hookspecs import hookimpl
    from restore_hub.model.sequence import load
    from restore_hub.runtime.folder import restore_folder
    from restore_hub.runtime.restore import restore
    from restore_hub.train.run import run

_LAZY = {
    "hookimpl": "restore_hub.hookspecs",
    "load": "restore_hub.model.sequence",
    "restore": "restore_hub.runtime.restore",
    "restore_folder": "restore_hub.runtime.folder",
    "run": "restore_hub.train.run",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'restore_hub' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
