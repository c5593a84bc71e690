"""Cold restarts: the lower level begins each outer step where it once stood."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import optim


class Start:
    """Where a lower level stands now, to go back to: its variables and what its optimizer remembers.

    For a cold restart, call `restore` before each step of a solver; a warm one, which needs nothing, goes on from where
    the last step ended. Learning rates and other settings stay as they are, so that schedules go on.

        start = Start(optimizer)
        for batches in ...:
            start.restore(state)
            state, logs = solver.step(problem, state, batches)

    Args:
        optimizer: of the lower level, over exactly its variables.
    """

    def __init__(self, optimizer: optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._variables = [w for group in optimizer.param_groups for w in group["params"]]
        self._values = [w.detach().clone() for w in self._variables]
        self._memory = deepcopy(optimizer.state_dict()["state"])

    def restore(self, state: Any = None) -> None:
        """Put variables and optimizer back, in place.

        Args:
            state: of the solver. One that carries more of the lower level than its optimizer has a method `restart`,
                which is called, to forget it.
        """
        with torch.no_grad():
            for w, value in zip(self._variables, self._values, strict=True):
                w.copy_(value)
        torch.clear_autocast_cache()
        groups = self._optimizer.state_dict()["param_groups"]
        # The optimizer goes on to write into what it is given.
        self._optimizer.load_state_dict({"state": deepcopy(self._memory), "param_groups": groups})
        if hasattr(state, "restart"):
            state.restart()

    def state_dict(self) -> dict[str, Any]:
        """Return plain containers of tensors and numbers, for `torch.save`."""
        return {"values": list(self._values), "memory": self._memory}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned, in place of where the lower level stood when this was made."""
        self._values = [value.to(w, copy=True) for value, w in zip(saved["values"], self._variables, strict=True)]
        self._memory = deepcopy(saved["memory"])
