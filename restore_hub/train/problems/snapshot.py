"""What modules hold besides the values of their weights, to put back after a trial."""

from __future__ import annotations

import copy
from collections import deque
from typing import Any

import torch
from torch import nn

_CONTAINERS = (dict, list, set, deque)


class Snapshot:
    """The attributes of modules, what is in the plain containers among them, and the values of their buffers."""

    def __init__(self, module: nn.Module) -> None:
        self._containers: dict[int, tuple[Any, Any]] = {}
        for part in module.modules():
            self._add(part.__dict__)
        self._buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]

    def _add(self, value: Any) -> None:
        if isinstance(value, _CONTAINERS) and id(value) not in self._containers:
            self._containers[id(value)] = (value, copy.copy(value))
        elif not isinstance(value, tuple):
            return
        for item in value.values() if isinstance(value, dict) else value:
            if isinstance(item, (*_CONTAINERS, tuple)) and id(item) not in self._containers:
                self._add(item)

    def restore(self) -> None:
        """Put everything back, in place."""
        for container, content in self._containers.values():
            container.clear()
            if isinstance(container, dict | set):
                container.update(content)
            else:
                container.extend(content)
        self.restore_buffers()

    @torch.no_grad()
    def restore_buffers(self) -> None:
        """Put the values of buffers back."""
        for buffer, value in self._buffers:
            buffer.copy_(value)
