"""Where the lower steps of an outer step begin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import optim

from restore_hub.bilevel import Start
from restore_hub.contracts import Batches
from restore_hub.spec import Level
from restore_hub.train.problems.trainable import StagePair


class Restart:
    """Warm: the lower level begins where it ended."""

    def before(self, state: Any, batches: Batches) -> None:
        """Put the lower level where it begins.

        Args:
            state: the solver's.
            batches: of the outer step.
        """

    def after(self, state: Any) -> None:
        """Drop what the next outer step must not find."""

    def state_dict(self) -> dict[str, Any] | None:
        """Return what a checkpoint needs of it."""
        return None

    def load_state_dict(self, saved: Mapping[str, Any] | None) -> None:
        """Take over what `state_dict` returned."""


class Cold(Restart):
    """The lower level begins where it was when this was made."""

    def __init__(self, optimizer: optim.Optimizer) -> None:
        self._start = Start(optimizer)

    def before(self, state: Any, batches: Batches) -> None:  # noqa: ARG002
        """Restore the variables and the optimizer."""
        self._start.restore(state)

    def state_dict(self) -> dict[str, Any]:
        """Return the start."""
        return self._start.state_dict()

    def load_state_dict(self, saved: Mapping[str, Any] | None) -> None:
        """Take over a start."""
        assert saved is not None
        self._start.load_state_dict(dict(saved))


class Anew(Restart):
    """The lower variables are made from each batch, and nothing is known about them but from this batch."""

    def __init__(self, pair: StagePair, optimizer: optim.Optimizer) -> None:
        self._pair, self._optimizer = pair, optimizer

    def before(self, state: Any, batches: Batches) -> None:  # noqa: ARG002
        """Make the variables."""
        self._pair.renew(batches.lower[-1])

    def after(self, state: Any) -> None:
        """Forget what optimizer and solver know about them."""
        self._optimizer.state.clear()
        if hasattr(state, "restart"):
            state.restart()


def restart_of(pair: StagePair, level: Level, optimizer: optim.Optimizer) -> Restart:
    """Return the restart that the lower level of a pair asks for."""
    if level.restart == "cold":
        return Cold(optimizer)
    return Anew(pair, optimizer) if level.restart == "batch" else Restart()
