"""higher: lower steps in `innerloop_ctx`, whose result omega takes over."""

from __future__ import annotations

from collections.abc import Callable

import higher
import torch

from arena.peers.tasks import Task

METHODS = ("reverse mode",)


def make(task: Task, method: str, steps: int) -> Callable[[], object]:
    """Return one outer step."""
    METHODS.index(method)
    above, below = task.optimizers()
    theta = task.theta.values()

    def step() -> None:
        with higher.innerloop_ctx(task.omega, below) as (omega, optimizer):
            for _ in range(steps):
                optimizer.step(omega(lambda values: task.lower(theta, values)))
            gradient = torch.autograd.grad(omega(lambda values: task.upper(theta, values)), theta)
            with torch.no_grad():
                for own, last in zip(task.omega.parameters(), omega.parameters(), strict=True):
                    own.copy_(last)
        for t, g in zip(theta, gradient, strict=True):
            t.grad = g
        above.step()

    return step
