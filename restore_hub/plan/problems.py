"""A spec's problem, made and checked. Running it once shows what the wiring of a chain shows by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from restore_hub.batch import Value, stacked
from restore_hub.contracts import Port, Problem
from restore_hub.errors import RestoreHubError, nearest, reason_of
from restore_hub.plan.plan import Plan
from restore_hub.port import SPATIAL
from restore_hub.spec import DATA, Level, Scope, check_stages, weights_of

EXAMPLE = 64  # side of the pictures that stand for the data, unless the data are cropped


def make_problem(plan: Plan) -> Problem:
    """Make the problem of a spec.

    Raises:
        SpecError: the problem refuses an option or data, or lacks something that `Problem` promises.
    """
    part = plan.problem
    assert part is not None
    problem: Problem = part.make()
    own = hasattr(problem, "batch")
    if own and plan.spec.data:
        raise plan.document.error("spec.problem-has-data", "data", component=part.component.name)
    if own:
        _require(plan, problem, ("splits", "metrics", "measure"))
    elif not plan.spec.data:
        raise part.error("spec.problem-needs-data", "problem", component=part.component.name)
    return problem


def _require(plan: Plan, problem: Problem, attributes: Iterable[str]) -> None:
    assert plan.problem is not None
    for attribute in attributes:
        if not hasattr(problem, attribute):
            named = {"component": plan.problem.component.name, "owner": plan.problem.component.owner}
            raise plan.problem.error(
                "spec.promise-missing", "problem", attribute=attribute, contract="Problem", **named
            )


def check_problem(plan: Plan, problem: Problem) -> list[str]:
    """Check the stages, metrics and exports of a spec against its problem; return remarks that a person should read.

    Each energy in use runs once forward and backward on a batch of its split: only this shows which variables it
    depends on. Data of the spec needn't be there for this: examples of their ports serve. Torch's random state is left
    as it was.

    Raises:
        SpecError: an unknown name, an energy that fails, or anything that `check_stages` refuses.
    """
    _check_metrics(plan, problem)
    _check_export(plan, problem)
    made = list(initial_of(problem))
    splits = plan.spec.data or problem.splits
    scope = Scope([*problem.blocks, *made], problem.energies, splits, lambda level: _reach(plan, problem, level), made)
    solvers = {index: [part.target for part in parts] for index, parts in plan.solvers.items()}
    with torch.random.fork_rng(devices=[]):
        return check_stages(plan.document, plan.spec, scope, solvers)


def first_batch(plan: Plan, problem: Problem, split: str) -> Mapping[str, Value]:
    """Return the first batch of a split; with data of the spec, a batch of examples of their ports."""
    if not plan.spec.data:
        return problem.batch(split, 0, 0)
    part, rng = plan.datasets[split], np.random.default_rng(0)
    extent = dict.fromkeys(SPATIAL, int(part.options.get("crop") or EXAMPLE))
    count = plan.spec.data[split].batch_size
    return {name: example(port, count, extent, rng) for name, port in part.target.ports.items()}


def example(port: Port, count: int, extent: Mapping[str, int], rng: np.random.Generator) -> Value:
    """Return a batch of random samples of what a port carries."""
    return stacked([torch.from_numpy(np.asarray(port.example(extent, rng))) for _ in range(count)], port)


def _check_metrics(plan: Plan, problem: Problem) -> None:
    if not plan.spec.data:
        for position, name in enumerate(plan.spec.metrics):
            if name not in problem.metrics:
                facts = {"metric": name, "known": ", ".join(problem.metrics), "mend": nearest(name, problem.metrics)}
                raise plan.document.error("spec.no-metric", "metrics", position, **facts)
        return
    if plan.metrics:
        _require(plan, problem, ("outputs", "restore"))
    for name, part in plan.metrics.items():
        for port, tensor in part.inputs.items():
            if not tensor.startswith(DATA) and tensor not in problem.outputs:
                facts = {"tensor": tensor, "known": ", ".join(problem.outputs)}
                mend = nearest(tensor, problem.outputs)
                raise plan.document.error("spec.problem-output", "metrics", name, "inputs", port, mend=mend, **facts)


def _check_export(plan: Plan, problem: Problem) -> None:
    known = [name for name, block in problem.blocks.items() if hasattr(block, "outputs")]
    for index, block in enumerate(plan.spec.export.blocks):
        if block not in known:
            facts = {"block": block, "known": ", ".join(known) or "none"}
            mend = nearest(block, known)
            raise plan.document.error("spec.problem-block", "export", "blocks", index, mend=mend, **facts)


def live_variables(problem: Problem) -> dict[str, dict[str, Tensor]]:
    """Return the live variables by block and name."""
    return {block: dict(module.named_parameters()) for block, module in problem.blocks.items()}


def fixed_weights(problem: Problem) -> dict[str, Tensor]:
    """Return the weights and buffers that a problem holds beside its blocks, such as those of losses it was given."""
    trained = {id(tensor) for tensor in (*problem.blocks.parameters(), *problem.blocks.buffers())}
    found: dict[str, Tensor] = {}
    for name, value in getattr(problem, "__dict__", {}).items():
        for key, module in _with_items(name, value):
            if isinstance(module, nn.Module) and module is not problem.blocks:
                tensors = (*module.named_parameters(), *module.named_buffers())
                found.update({f"{key}.{part}": t for part, t in tensors if id(t) not in trained})
    return found


def _with_items(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield a value by its name, and what is in it if that is a list or a mapping."""
    yield name, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    yield from ((f"{name}.{key}", item) for key, item in items)


def initial_of(problem: Problem) -> Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Tensor]]]:
    """Return the functions that make blocks of variables from a batch."""
    return getattr(problem, "initial", {})


def _reach(plan: Plan, problem: Problem, level: Level) -> frozenset[str]:
    """Return the blocks that a level's objective depends on."""
    batch = first_batch(plan, problem, level.splits[0])
    variables = live_variables(problem)
    for block in initial_of(problem):
        made = _initial(plan, problem, block, batch)
        variables[block] = {name: value.detach().requires_grad_() for name, value in made.items()}
    leaves = {
        (block, name): t for block, tensors in variables.items() for name, t in tensors.items() if t.requires_grad
    }
    reached: set[str] = set()
    for name in weights_of(level.objective):
        value = _run(plan, problem, name, variables, batch)
        found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True) if value.requires_grad else ()
        reached |= {block for (block, _), g in zip(leaves, found, strict=False) if g is not None}
    return frozenset(reached)


def _initial(plan: Plan, problem: Problem, block: str, batch: Mapping[str, Value]) -> Mapping[str, Tensor]:
    try:
        made: Any = initial_of(problem)[block](batch)
    except RestoreHubError as error:
        raise plan.document.located(error, "problem") from error
    except Exception as error:
        raise plan.document.error("spec.initial-fails", "problem", block=block, cause=reason_of(error)) from error
    values = list(made.values()) if isinstance(made, Mapping) else [made]
    wrong = [v for v in values if not (isinstance(v, Tensor) and v.is_floating_point())]
    if wrong or not isinstance(made, Mapping) or not made:
        got = type(made).__name__ if not isinstance(made, Mapping) else ", ".join(type(v).__name__ for v in wrong)
        raise plan.document.error("spec.initial-result", "problem", block=block, got=got or "nothing")
    found: Mapping[str, Tensor] = made
    return found


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
