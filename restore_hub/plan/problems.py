"""A spec's problem, made and checked. Running it once shows what the wiring of a chain shows by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from restore_hub.batch import Value
from restore_hub.contracts import Problem
from restore_hub.errors import RestoreHubError, nearest, reason_of
from restore_hub.plan.plan import Plan
from restore_hub.spec import Level, Scope, check_stages, weights_of

PROMISED = ("blocks", "energies", "splits", "metrics", "batch", "measure")


def make_problem(plan: Plan) -> Problem:
    """Make the problem of a spec.

    Raises:
        SpecError: the problem refuses an option or data, or lacks something that `Problem` promises.
    """
    part = plan.problem
    assert part is not None
    problem: Problem = part.make()
    component, owner = part.component.name, part.component.owner
    for attribute in PROMISED:
        if not hasattr(problem, attribute):
            facts = {"component": component, "owner": owner, "attribute": attribute, "contract": "Problem"}
            raise part.error("spec.promise-missing", **facts)
    if not isinstance(problem.blocks, nn.ModuleDict):
        raise part.error("spec.promise-module-dict", component=component, got=type(problem.blocks).__name__)
    return problem


def check_problem(plan: Plan, problem: Problem) -> list[str]:
    """Check the stages and metrics of a spec against its problem; return remarks that a person should read.

    Each energy in use runs once forward and backward on the first batch of its split: only this shows which variables
    it depends on. Torch's random state is left as it was.

    Raises:
        SpecError: an unknown name, an energy that fails, or anything that `check_stages` refuses.
    """
    for position, name in enumerate(plan.spec.metrics):
        if name not in problem.metrics:
            facts = {"metric": name, "known": ", ".join(problem.metrics), "mend": nearest(name, problem.metrics)}
            raise plan.document.error("spec.no-metric", "metrics", position, **facts)
    made = list(initial_of(problem))
    blocks = [*problem.blocks, *made]
    scope = Scope(blocks, problem.energies, problem.splits, lambda level: _reach(plan, problem, level), made)
    solvers = {index: [part.target for part in parts] for index, parts in plan.solvers.items()}
    with torch.random.fork_rng(devices=[]):
        return check_stages(plan.document, plan.spec, scope, solvers)


def variables_of(problem: Problem) -> dict[str, dict[str, Tensor]]:
    """Return the live variables by block and name."""
    return {block: dict(module.named_parameters()) for block, module in problem.blocks.items()}


def initial_of(problem: Problem) -> Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Tensor]]]:
    """Return the functions that make blocks of variables from a batch."""
    return getattr(problem, "initial", {})


def _reach(plan: Plan, problem: Problem, level: Level) -> frozenset[str]:
    """Return the blocks that a level's objective depends on."""
    batch = problem.batch(level.data, 0, 0)
    variables = variables_of(problem)
    for block, initial in initial_of(problem).items():
        variables[block] = {name: value.detach().requires_grad_() for name, value in initial(batch).items()}
    leaves = {
        (block, name): t for block, tensors in variables.items() for name, t in tensors.items() if t.requires_grad
    }
    reached: set[str] = set()
    for name in weights_of(level.objective):
        value = _run(plan, problem, name, variables, batch)
        found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True) if value.requires_grad else ()
        reached |= {block for (block, _), g in zip(leaves, found, strict=False) if g is not None}
    return frozenset(reached)


def _run(
    plan: Plan,
    problem: Problem,
    name: str,
    variables: Mapping[str, Mapping[str, Tensor]],
    batch: Mapping[str, Value],
) -> Tensor:
    try:
        result = problem.energies[name](variables, batch)
    except RestoreHubError as error:
        raise plan.document.located(error, "problem") from error
    except Exception as error:
        raise plan.document.error("spec.energy-fails", "problem", energy=name, cause=reason_of(error)) from error
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Tensor) and result[0].ndim == 0):
        raise plan.document.error("spec.energy-result", "problem", energy=name)
    value: Tensor = result[0]
    return value
