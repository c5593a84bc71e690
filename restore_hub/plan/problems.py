"""A spec's problem, made and checked: what a chain's names and wiring tell, a problem tells by being run once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from restore_hub.contracts import Problem
from restore_hub.errors import DataError, MissingExtraError, OptionError, RestoreHubError, did_you_mean
from restore_hub.plan.plan import Plan
from restore_hub.spec import Ground, Level, check_stages, weights_of

PROMISED = ("blocks", "energies", "splits", "metrics", "batch", "measure")


def make_problem(plan: Plan) -> Problem:
    """Make the problem of a spec.

    Raises:
        SpecError: an option or data that it refuses, or something that `Problem` promises and it lacks; with the
            place in the file.
    """
    part = plan.problem
    assert part is not None
    try:
        problem: Problem = part.make()
    except OptionError as error:
        raise plan.document.error(str(error), "problem", error.option) from error
    except (DataError, MissingExtraError) as error:
        raise plan.document.error(str(error), "problem") from error
    missing = [name for name in PROMISED if not hasattr(problem, name)]
    if missing or not isinstance(problem.blocks, nn.ModuleDict):
        what = f"has no {missing[0]!r}" if missing else f"has blocks of {type(problem.blocks).__name__}, no ModuleDict"
        raise plan.document.error(f"{part.component.name} {what}; see Problem in restore_hub.contracts", "problem")
    return problem


def check_problem(plan: Plan, problem: Problem) -> list[str]:
    """Check the stages and metrics of a spec against its problem; return remarks that a person should read.

    Each energy in use runs once forward and backward on the first batch of its split, since this alone tells which
    variables it depends on. Torch's random state is left as it was.

    Raises:
        SpecError: a dangling name, a group of variables in two levels, levels that share data unasked, an energy
            that fails, or that lacks the dependence which the solver's response needs.
    """
    for position, name in enumerate(plan.spec.metrics):
        if name not in problem.metrics:
            known = ", ".join(problem.metrics)
            hint = did_you_mean(name, problem.metrics) or f"; it has {known}"
            raise plan.document.error(f"the problem has no metric {name!r}{hint}", "metrics", position)
    ground = Ground(list(problem.blocks), problem.energies, problem.splits, lambda level: _reach(plan, problem, level))
    with torch.random.fork_rng(devices=[]):
        return check_stages(plan.document, plan.spec, ground, {i: part.target for i, part in plan.solvers.items()})


def variables_of(problem: Problem) -> dict[str, dict[str, Tensor]]:
    """Return the live variables by block and name."""
    return {block: dict(module.named_parameters()) for block, module in problem.blocks.items()}


def _reach(plan: Plan, problem: Problem, level: Level) -> frozenset[str]:
    """Return the blocks that a level's objective depends on."""
    variables = variables_of(problem)
    leaves = {
        (block, name): t for block, tensors in variables.items() for name, t in tensors.items() if t.requires_grad
    }
    reached: set[str] = set()
    batch = problem.batch(level.data, 0, 0)
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
    batch: Mapping[str, Tensor],
) -> Tensor:
    try:
        result = problem.energies[name](variables, batch)
    except RestoreHubError as error:
        raise plan.document.error(str(error), "problem") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise plan.document.error(f"its energy {name!r} fails: {type(error).__name__}: {reason}", "problem") from error
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Tensor) and result[0].ndim == 0):
        raise plan.document.error(
            f"its energy {name!r} must return (sum, count): a scalar tensor with the sum over all terms, and their "
            "number",
            "problem",
        )
    value: Tensor = result[0]
    return value
