"""Betty: an engine with two problems; an outer step is as many of its steps as there are lower steps."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from betty.configs import Config, EngineConfig
from betty.engine import Engine
from betty.problems import ImplicitProblem

from arena.peers.tasks import RADIUS, Task

TYPES = {"cg": "cg", "neumann": "neumann", "finite difference": "darts", "cheapest": "darts"}


def make(task: Task, method: str, steps: int) -> Callable[[], object]:
    """Return one outer step."""
    above, below = task.optimizers()

    class Upper(ImplicitProblem):
        def training_step(self, _: Any) -> Any:
            return task.upper(self.module.values(), self.inner.module.values())

        def get_batch(self) -> Any:
            return ()

    class Lower(ImplicitProblem):
        def training_step(self, _: Any) -> Any:
            return task.lower(self.outer.module.values(), self.module.values())

        def get_batch(self) -> Any:
            return ()

    settings = Config(
        type=TYPES[method],
        unroll_steps=steps,
        darts_alpha=RADIUS,
        cg_iterations=task.products[0],
        neumann_iterations=task.products[1] - 1,  # terms beside the first
        neumann_alpha=task.rates[1],
    )
    upper = Upper(name="outer", module=task.theta, optimizer=above, config=Config(first_order=True, retain_graph=True))
    lower = Lower(name="inner", module=task.omega, optimizer=below, config=settings)
    logging.disable(logging.INFO)
    engine = Engine(
        config=EngineConfig(), problems=[upper, lower], dependencies={"u2l": {upper: [lower]}, "l2u": {lower: [upper]}}
    )
    engine.train()

    def step() -> None:
        for _ in range(steps):
            engine.global_step += 1
            engine.train_step()

    return step
