"""TorchOpt: `MetaSGD` for reverse mode, `custom_root` around lower steps for implicit gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchopt
from torchopt import linear_solve

from arena.peers.tasks import Task


def make(task: Task, method: str, steps: int) -> Callable[[], object]:
    """Return one outer step."""
    if method == "reverse mode":
        return _reverse(task, steps)
    solve = {
        "cg": lambda: linear_solve.solve_cg(maxiter=task.products[0], rtol=0.0, atol=0.0),
        "neumann": lambda: linear_solve.solve_inv(ns=True, maxiter=task.products[1] - 1, alpha=task.rates[1]),
    }[method]()
    return _implicit(task, steps, solve)


def _reverse(task: Task, steps: int) -> Callable[[], object]:
    above, _ = task.optimizers()
    below = torchopt.MetaSGD(task.omega, lr=task.rates[1])
    theta = task.theta.values()

    def step() -> None:
        for _ in range(steps):
            below.step(task.lower(theta, task.omega.values()))
        above.zero_grad()
        task.upper(theta, task.omega.values()).backward(inputs=theta)
        above.step()
        torchopt.stop_gradient(task.omega)
        torchopt.stop_gradient(below)
        for container in below.param_containers_groups[0]:  # what it put there are no parameters
            for value in container.values():
                value.detach_().requires_grad_()

    return step


def _implicit(task: Task, steps: int, solve: Any) -> Callable[[], object]:
    above, _ = task.optimizers()
    theta = task.theta.values()
    stationary = torch.func.grad(lambda omega, theta: task.lower(theta, omega))

    @torchopt.diff.implicit.custom_root(stationary, argnums=1, solve=solve)
    def descend(omega: Any, theta: Any) -> Any:
        for _ in range(steps):
            with torch.enable_grad():
                leaves = tuple(w.detach().requires_grad_() for w in omega)
                gradient = torch.autograd.grad(task.lower(theta, leaves), leaves)
            omega = tuple(w.detach() - task.rates[1] * g for w, g in zip(leaves, gradient, strict=True))
        return omega

    def step() -> None:
        omega = descend(task.omega.values(), theta)
        above.zero_grad()
        task.upper(theta, omega).backward(inputs=theta)
        above.step()
        with torch.no_grad():
            for own, last in zip(task.omega.parameters(), omega, strict=True):
                own.copy_(last)

    return step
