"""Cold restarts: the lower level starts each outer step from the same point."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import optim


class Start:
    """A snapshot of a lower level: its variables and its optimizer's state.

    For cold restarts, call `restore` before each step of a solver. A warm start needs no snapshot: it continues where
    the last step ended. Learning rates and other settings keep their current values, so schedules continue.

        start = Start(optimizer)
        for batches in ...:
            start.restore(state)
            state, logs = solver.step(pair, state, batches)

    Args:
        optimizer: of the lower level, over exactly its variables.
    """

    def __init__(self, optimizer: optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._variables = [w for group in optimizer.param_groups for w in group["params"]]
        self._values = [w.detach().clone() for w in self._variables]
        self._memory = deepcopy(optimizer.state_dict()["state"])

    def restore(self, state: Any = None) -> None:
        """Restore the variables and the optimizer, in place.

        Args:
            state: the solver's. If it carries more of the lower level than the optimizer, it has a method `restart`,
                which is called to drop that.
        """
        with torch.no_grad():
            for w, value in zip(self._variables, self._values, strict=True):
                w.copy_(value)
        torch.clear_autocast_cache()
        groups = self._optimizer.state_dict()["param_groups"]
        # A copy, because the optimizer will write into it.
        self._optimizer.load_state_dict({"state": deepcopy(self._memory), "param_groups": groups})
        if hasattr(state, "restart"):
            state.restart()

    def state_dict(self) -> dict[str, Any]:
        """Return plain containers of tensors and numbers, for `torch.save`."""
        return {"values": list(self._values), "memory": self._memory}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned, in place of this snapshot."""
        self._values = [value.to(w, copy=True) for value, w in zip(saved["values"], self._variables, strict=True)]
        self._memory = deepcopy(saved["memory"])
