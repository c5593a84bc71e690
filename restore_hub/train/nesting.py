"""Three levels and more: rungs whose lower level has levels below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import optim

from restore_hub.batch import Batch
from restore_hub.bilevel import NestedPair, Responding, Tensors
from restore_hub.contracts import Batches, SingleLevel, Solver
from restore_hub.errors import BilevelError
from restore_hub.spec import Stage
from restore_hub.train.feed import Feed
from restore_hub.train.problems.trainable import StagePair
from restore_hub.train.restarts import Restart, restart_of
from restore_hub.train.rung import Logs, Rung


class Below:
    """Moves the levels below a pair before each of its lower steps, as `restore_hub.bilevel.NestedPair` asks for.

    Attributes:
        rung: of the next pair, whose upper level is the pair's lower one.
        taken: steps of that level so far, over all outer steps.
        logs: losses of the levels below it, from the last step.

    Args:
        above: the pair.
        pairs: all pairs below it, upper first.
        rung: see above.
        theta: in place of the optimizer of the upper level of `rung`.
        feed: the batches.
        place: of the upper level of `rung`, from 0.
    """

    def __init__(
        self,
        above: StagePair,
        pairs: Sequence[StagePair],
        rung: Rung,
        theta: Responding,
        feed: Feed,
        place: int,
    ) -> None:
        self.rung, self.taken, self.logs = rung, 0, Logs()
        self._above, self._theta, self._feed, self._place = above, theta, feed, place
        self._variables = {name: w for pair in pairs for name, w in zip(pair.omega_names, pair.omega, strict=True)}

    def __call__(self, _: Tensors, batch: Batch) -> Tensors:
        """Move them on a batch of the level above; return their response to it.

        Raises:
            BilevelError: the solver doesn't tell its response apart from the rest of its hypergradient.
        """
        self._theta.response = None
        logs = self.rung.step(self._feed.below(self._place, batch, self.taken), self.taken)
        self.taken += 1
        response = self._theta.response
        if response is None or (self.rung.responds and not response):
            raise BilevelError("train.response-not-apart", f"level {self._place + 1}")
        # Copies, since graphs that a solver keeps must not see the next step of these levels.
        self._above.set_others({name: w.detach().clone() for name, w in self._variables.items()})
        self.logs = {name: value for name, value in logs.items() if name.startswith("loss/level-")}
        if "loss/lower" in logs:
            self.logs[f"loss/level-{self._place + 2}"] = logs["loss/lower"]
        return response


class NestedRung(Rung):
    """A rung with levels below its pair."""

    def __init__(
        self,
        pair: StagePair,
        below: Below,
        solver: Solver,
        optimizers: Sequence[optim.Optimizer],
        restart: Restart,
    ) -> None:
        super().__init__(NestedPair(pair, below), solver, optimizers, restart)
        self._below = below

    def step(self, batches: Batches, taken: int) -> Logs:
        """Take a step; return what is logged, with the losses of the levels below."""
        self._below.taken = taken * batches.steps
        return {**super().step(batches, taken), **self._below.logs}

    def state_dict(self) -> dict[str, Any]:
        """Return what all solvers carry, for a checkpoint."""
        return {**super().state_dict(), "below": self._below.rung.state_dict()}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        super().load_state_dict(saved)
        self._below.rung.load_state_dict(saved["below"])


def make_rung(
    stage: Stage,
    seen: Sequence[StagePair] | SingleLevel,
    solvers: Sequence[Solver],
    optimizers: Sequence[optim.Optimizer],
    feed: Feed,
) -> Rung:
    """Return the first rung of a stage, with all others below it.

    Args:
        stage: with all levels.
        seen: each pair of adjacent levels, upper first, or the only level.
        solvers: of each.
        optimizers: of all levels.
        feed: the batches.
    """
    if not isinstance(seen, Sequence):
        return Rung(seen, solvers[0], optimizers, Restart())
    below: Below | None = None
    for place in reversed(range(len(seen))):
        pair, solver, lower = seen[place], solvers[place], optimizers[place + 1]
        theta = Responding(pair.theta) if place else optimizers[0]
        own, restart = [theta, lower], restart_of(pair, stage.levels[place + 1], lower)
        rung = NestedRung(pair, below, solver, own, restart) if below else Rung(pair, solver, own, restart)
        if isinstance(theta, Responding):
            below = Below(seen[place - 1], seen[place:], rung, theta, feed, place)
    return rung
