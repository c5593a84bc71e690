"""Exports that take a second instead of four; what is left out is measured by the tests of its own."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch

from restore_hub.export import gate, int8_file
from restore_hub.model.manifest import Memory
from restore_hub.model.memory_use import measure_memory


@pytest.fixture(scope="session", autouse=True)
def _quick_exports() -> Iterator[None]:
    """State a memory that nobody measured, and let all exports share the table of operators that torch makes for each.

    Measuring starts a process, for more than a second.
    """
    real = torch.onnx.export

    def export(*arguments: Any, **named: Any) -> Any:
        _share_operators()
        return real(*arguments, **named)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch.onnx, "export", export)
        for module in (gate, int8_file):
            patched.setattr(module, "measure_memory", lambda _: Memory(base=200 << 20, per_pixel=100.0))
        yield


@pytest.fixture
def measured_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let exports measure how much memory their file takes."""
    for module in (gate, int8_file):
        monkeypatch.setattr(module, "measure_memory", measure_memory)


@cache
def _share_operators() -> None:
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    made = cache(ONNXRegistry.from_torchlib)
    ONNXRegistry.from_torchlib = lambda _=None, **given: made(**given)
