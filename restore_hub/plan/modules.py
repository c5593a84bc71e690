"""Asks about PyTorch's modules without importing PyTorch: while nobody has imported it, nothing is one."""

from __future__ import annotations

import sys
from typing import Any


def is_module(value: Any) -> bool:
    """Whether a value is a `torch.nn.Module`."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def is_module_dict(value: Any) -> bool:
    """Whether a value is a `torch.nn.ModuleDict`."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.ModuleDict)


def lazy_tensor(made: Any) -> str:
    """Return the name of a module's first parameter or buffer that waits for a first call; empty without one."""
    if not is_module(made):
        return ""
    is_lazy = sys.modules["torch"].nn.parameter.is_lazy
    return next((name for name, t in (*made.named_parameters(), *made.named_buffers()) if is_lazy(t)), "")
