"""The conformance kit: checks that plugin authors call in their tests, as this project does in its own.

    from restore_hub.testing import check_network
    check_network(MyNetwork, width=8)

Each check raises `AssertionError` with what it found and what the contract requires.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from restore_hub.options import options_of
from restore_hub.registry import Component
from restore_hub.testing.metrics import check_metric
from restore_hub.testing.networks import check_network
from restore_hub.testing.parts import check_dataset, check_loss
from restore_hub.testing.problems import check_problem
from restore_hub.testing.require import require
from restore_hub.testing.solvers import check_solver
from restore_hub.testing.tasks import check_task

__all__ = [
    "check_component",
    "check_dataset",
    "check_loss",
    "check_metric",
    "check_network",
    "check_problem",
    "check_solver",
    "check_task",
]


def check_component(component: Component, **options: Any) -> None:
    """Run the checks for a component's kind on its target; kinds without a check must only load.

    Args:
        component: as found in a registry.
        options: options to make it with; a dataset needs those without a default.
    """
    target = component.load()
    require(callable(target), f"{component.name}: the target {component.target} isn't callable")
    require(component.summary.strip() != "", f"{component.name} has no summary")
    if component.kind == "command":
        return
    options_of(target)  # raises if a type hint is missing
    checks: dict[str, Callable[..., None]] = {
        "network": check_network,
        "task": check_task,
        "loss": check_loss,
        "metric": check_metric,
        "problem": check_problem,
        "solver": check_solver,
    }
    if component.kind == "dataset":
        check_dataset(target(**options))
    elif component.kind in checks:
        checks[component.kind](target, **options)
