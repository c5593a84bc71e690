"""A solver on what it steps: two adjacent levels, or the only one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, optim

from restore_hub.bilevel import NestedPair
from restore_hub.contracts import Batches, SingleLevel, Solver
from restore_hub.train.problems.trainable import StagePair
from restore_hub.train.restarts import Restart

Logs = dict[str, Tensor | float]


class Rung:
    """Steps the lower level of a pair, then the upper one along its hypergradient.

    Args:
        levels: what the solver sees.
        solver: of these levels.
        optimizers: one for each level.
        restart: where the lower level begins.
    """

    def __init__(
        self,
        levels: StagePair | NestedPair | SingleLevel,
        solver: Solver,
        optimizers: Sequence[optim.Optimizer],
        restart: Restart,
    ) -> None:
        self.responds = solver.responds
        self._levels, self._solver, self._restart = levels, solver, restart
        self._state = solver.init(levels, optimizers)

    def step(self, batches: Batches, taken: int) -> Logs:  # noqa: ARG002
        """Take a step; return what is logged.

        Args:
            batches: of these levels.
            taken: steps of the upper level before this one, over all outer steps.
        """
        self._restart.before(self._state, batches)
        self._state, logs = self._solver.step(self._levels, self._state, batches)
        self._restart.after(self._state)
        return logs

    def state_dict(self) -> dict[str, Any]:
        """Return what the solver carries, and where a level with cold restarts begins, for a checkpoint."""
        return {"solver": self._state.state_dict(), "start": self._restart.state_dict()}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._state.load_state_dict(saved["solver"])
        self._restart.load_state_dict(saved["start"])
