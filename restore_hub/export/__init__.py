"""Blocks and chains to ONNX files that describe themselves. Importing this package doesn't import torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restore_hub.export.deploy import Deployed, deployed_block, deployed_chain
    from restore_hub.export.onnx_file import export_onnx

__all__ = ["Deployed", "deployed_block", "deployed_chain", "export_onnx"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{'onnx_file' if name == 'export_onnx' else 'deploy'}"), name)
