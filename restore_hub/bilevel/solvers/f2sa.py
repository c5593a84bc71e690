"""First derivatives alone: two copies of the lower level, one of them drawn by the upper energy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, optim

from restore_hub.bilevel.gradients import evaluate
from restore_hub.bilevel.lower import apply, coupled
from restore_hub.bilevel.outer import Pull, step_upper
from restore_hub.bilevel.solvers.state import Logs, State, new_state
from restore_hub.bilevel.vectors import Tensors, cosine, norm
from restore_hub.contracts import Batches, Problem
from restore_hub.errors import OptionError


def _no_memory() -> defaultdict[Tensor, Any]:
    return defaultdict(dict)


@dataclass
class F2saState(State):
    """The state of `F2sa`.

    Attributes:
        variables: omega.
        copy: y, shaped like omega; empty after a restart, when it begins at omega.
        memory: what the lower optimizer remembers of y.
        steps: outer steps taken.
    """

    variables: Tensors = ()
    copy: Tensors = ()
    memory: defaultdict[Tensor, Any] = field(default_factory=_no_memory)
    steps: int = 0

    def restart(self) -> None:
        """Forget y, because omega was put somewhere else."""
        self.copy, self.memory = (), _no_memory()

    @contextmanager
    def copy_in_place(self) -> Iterator[optim.Optimizer]:
        """Let the lower optimizer, its settings and hooks included, hold y instead of omega for a while."""
        optimizer, places = self.optimizers[1], tuple(w.data for w in self.variables)
        optimizer.state, self.memory = self.memory, optimizer.state
        for w, y in zip(self.variables, self.copy, strict=True):
            w.data = y
        try:
            yield optimizer
        finally:
            optimizer.state, self.memory = self.memory, optimizer.state
            for w, place in zip(self.variables, places, strict=True):
                w.data = place

    def state_dict(self) -> dict[str, Any]:
        """Return plain containers of tensors and numbers, for `torch.save`."""
        saved = {**super().state_dict(), "steps": self.steps, "copy": [y.clone() for y in self.copy]}
        if self.copy:
            with self.copy_in_place() as optimizer:
                saved["memory"] = optimizer.state_dict()["state"]
        return saved

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned; the run continues as if it had not stopped."""
        super().load_state_dict(saved)
        self.restart()
        self.steps = saved["steps"]
        self.copy = tuple(y.to(w, copy=True) for y, w in zip(saved["copy"], self.variables, strict=False))
        if self.copy:
            with self.copy_in_place() as optimizer:
                groups = optimizer.state_dict()["param_groups"]
                optimizer.load_state_dict({"state": saved["memory"], "param_groups": groups})


class F2sa:
    def __init__(self, penalty: float = 10.0, growth: float = 0.0) -> None:
        self.penalty, self.growth = penalty, growth
    levels = 2
    responds = True

    def init(self, problem: Problem, optimizers: Sequence[optim.Optimizer]) -> F2saState:
        state = new_state(optimizers, (problem.theta, problem.omega))
        return F2saState(state.optimizers, state.history, problem.omega)

    def step(self, problem: Problem, state: F2saState, batches: Batches) -> tuple[F2saState, Logs]:
        if not state.copy:
            state.copy = tuple(w.detach().clone() for w in problem.omega)
        penalty = self.penalty * (1 + state.steps) ** self.growth
        x_upper = problem.couple(batches.upper)
        for x, batch in coupled(problem, batches, graphs=1, upper=x_upper):
            drawn = evaluate(problem, "lower", x, state.copy, batch, wrt=("omega",))
            above = evaluate(problem, "upper", x_upper, state.copy, batches.upper, wrt=("omega",))
            below = evaluate(problem, "lower", x, problem.omega, batch, wrt=("omega",))
            mixed = tuple(low + up / penalty for low, up in zip(drawn.omega, above.omega, strict=True))
            with state.copy_in_place() as optimizer:
                apply(optimizer, problem.omega, mixed)
            apply(state.optimizers[1], problem.omega, below.omega)
        above = evaluate(problem, "upper", x_upper, state.copy, batches.upper, optional=("x",))
        drawn = evaluate(problem, "lower", x, state.copy, batch, wrt=("x",))
        free = evaluate(problem, "lower", x, problem.omega, batch, wrt=("x",))
        response = tuple(penalty * (d - f) for d, f in zip(drawn.x, free.x, strict=True))
        step_upper(problem, state.optimizers[0], Pull(x_upper, above.x), Pull(x, response))
        state.steps += 1
        return state, {
            "loss/upper": above.value,
            "loss/lower": below.value,
            "g_lower": norm(below.omega),
            "cosine": cosine(below.omega, above.omega),
            "penalty": norm([above.value.new_tensor(penalty)]),
            "response_norm": norm(response),
            "direct_norm": norm(above.x),
        }

    def evaluations(self, lower_steps: int) -> int:
        return 3 * lower_steps + 3
