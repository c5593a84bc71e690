"""Ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from arena.peers.tasks import RADIUS, Task
from restore_hub.bilevel.solvers import Cg, Lwcl, Neumann, Rhg, Tbgl
from restore_hub.contracts import Batches


class LevelPair:
    """A task as a problem."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.theta, self.omega = tuple(task.theta.parameters()), tuple(task.omega.parameters())
        self.theta_names, self.omega_names = (
            tuple(name for name, _ in module.named_parameters()) for module in task.modules()
        )

    def couple(self, _: Any) -> tuple[Any, ...]:
        return self.theta

    def upper(self, x: Any, omega: Any, _: Any) -> Any:
        return self._task.upper(x, omega)

    def lower(self, x: Any, omega: Any, _: Any) -> Any:
        return self._task.lower(x, omega)


def make(task: Task, method: str, steps: int) -> Callable[[], object]:
    """Return one outer step."""
    solvers: dict[str, Callable[[], Any]] = {
        "outer product": Lwcl,
        "cheapest": Lwcl,
        "reverse mode": Rhg,
        "cg": lambda: Cg(iterations=task.products[0], tolerance=0.0),
        "neumann": lambda: Neumann(iterations=task.products[1]),
        "finite difference": lambda: Tbgl(radius=RADIUS),
    }
    problem, solver = LevelPair(task), solvers[method]()
    state = solver.init(problem, task.optimizers())
    batches = Batches(None, [None], steps)  # one object at both levels
    return lambda: solver.step(problem, state, batches)
