"""One pair of adjacent levels with its solver, and the pairs below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, optim

from restore_hub.batch import Batch
from restore_hub.bilevel import Held, NestedPair, Start, Tensors
from restore_hub.contracts import Batches, Solver
from restore_hub.spec import Stage
from restore_hub.train.feed import Feed


class Rung:
    """Steps the lower level of a pair, and leaves the upper level's hypergradient in `.grad`; the first rung steps it.

    Before each step of its lower level, the rung below steps the level under that, and adds its response to the
    gradient (`restore_hub.bilevel.NestedPair`).

    Args:
        place: of the upper level, from 0.
        pair: the two levels, or the only one.
        solver: of the pair.
        stage: with all levels.
        optimizers: of all levels.
        feed: their batches.
        below: the rung below, if there is one.
    """

    def __init__(
        self,
        place: int,
        pair: Any,
        solver: Solver,
        stage: Stage,
        optimizers: Sequence[optim.Optimizer],
        feed: Feed,
        below: Rung | None,
    ) -> None:
        self._place, self._solver, self._feed, self._below = place, solver, feed, below
        self._levels = pair
        self.pair: Any = pair if below is None else NestedPair(pair, self._move)
        own = list(optimizers[place : place + 2])
        if place > 0:
            own[0] = Held(self.pair.theta)
        self._state = solver.init(self.pair, own)
        lower = stage.levels[min(place + 1, len(stage.levels) - 1)]
        self._start = Start(own[1]) if len(own) == 2 and lower.restart == "cold" else None
        self._renewed = own[1] if lower.restart == "batch" else None
        self._taken = 0
        self._below_logs: dict[str, Tensor | float] = {}

    def step(self, batches: Batches, taken: int) -> dict[str, Tensor | float]:
        """Take a step; return what the solver logs, and the losses of levels further down.

        Args:
            batches: of both levels.
            taken: steps of the upper level before this one, over all outer steps.
        """
        self._taken = taken * batches.steps
        if self._start is not None:
            self._start.restore(self._state)
        if self._renewed is not None:
            self._levels.renew(batches.lower[-1])
        self._state, logs = self._solver.step(self.pair, self._state, batches)
        if self._renewed is not None:  # what the solver carries is about variables of this batch alone
            self._renewed.state.clear()
            if hasattr(self._state, "restart"):
                self._state.restart()
        return {**logs, **self._below_logs}

    def _move(self, _: Tensors, batch: Batch) -> Tensors:
        """Step the levels below on a batch of the lower level; return that level's hypergradient."""
        below = self._below
        assert below is not None
        logs = below.step(self._feed.below(below._place, batch, self._taken), self._taken)
        self._taken += 1
        # Copies, since graphs that a solver keeps must not see the next step of the levels below.
        self._levels.hold({name: value.detach().clone() for name, value in below.variables().items()})
        self._below_logs = {
            f"loss/level-{below._place + 2}": logs["loss/lower"],
            **{name: value for name, value in logs.items() if name.startswith("loss/level-")},
        }
        return tuple(t.grad for t in below.pair.theta)

    def variables(self) -> dict[str, Tensor]:
        """Return the variables of all levels below the upper one, by name."""
        own = dict(zip(self.pair.omega_names, self.pair.omega, strict=True))
        return own if self._below is None else {**own, **self._below.variables()}

    def state_dict(self) -> dict[str, Any]:
        """Return what the solvers carry, and where levels with cold restarts begin, for a checkpoint."""
        return {
            "solver": self._state.state_dict(),
            "start": self._start and self._start.state_dict(),
            "below": self._below and self._below.state_dict(),
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._state.load_state_dict(saved["solver"])
        if self._start is not None:
            self._start.load_state_dict(saved["start"])
        if self._below is not None:
            self._below.load_state_dict(saved["below"])
