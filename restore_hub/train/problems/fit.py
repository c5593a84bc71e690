"""Whether solver and optimizers, groups, batches and levels of each stage fit together, checked before training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from restore_hub.errors import BilevelError, RestoreHubError
from restore_hub.plan.chain import Chain
from restore_hub.plan.objectives import Objectives
from restore_hub.plan.plan import Plan
from restore_hub.spec import Stage, level_place
from restore_hub.train.optimizers import make_optimizer
from restore_hub.train.problems.chain_pair import ChainPair
from restore_hub.train.problems.groups import divide


def check_fit(plan: Plan, samples: Callable[[str], int], ranks: int = 1) -> None:
    """Check every stage of a plan, with a variable of one number for each level.

    Args:
        plan: of the spec.
        samples: for a split, the number of samples in a batch, over all processes together.
        ranks: processes that share each batch.

    Raises:
        SpecError: a solver refuses an optimizer, or a lower batch can't be divided into the groups that are asked for;
            with the place in the file.
    """
    for index, stage in enumerate(plan.spec.stages):
        _check_optimizers(plan, index, stage)
        for part, lower, further in zip(plan.solvers[index], stage.levels[1:], [*stage.levels[2:], None], strict=False):
            groups = part.options.get("groups")
            try:
                if groups is not None and further is not None:
                    raise BilevelError("train.groups-above-a-level")
                if isinstance(groups, int):
                    _check_groups(groups, samples(lower.splits[0]), lower.accumulate, ranks)
            except BilevelError as error:
                raise part.located(error, "groups") from None


def check_coupling(plan: Plan, chain: Chain) -> None:
    """Check that what a level's blocks hand on to the next level has a gradient.

    Raises:
        SpecError: it doesn't; at the level that gets it.
    """
    objectives = Objectives({}, {name: part.inputs for name, part in plan.losses.items()})
    for index, stage in enumerate(plan.spec.stages):
        for number, (upper, lower) in enumerate(pairwise(stage.levels), 1):
            try:
                ChainPair(chain, objectives, upper, lower)
            except BilevelError as error:
                raise plan.document.located(error, *level_place(plan.document, index, number)) from None


def _check_optimizers(plan: Plan, index: int, stage: Stage) -> None:
    variables = [(torch.zeros(1, requires_grad=True),) for _ in stage.levels]
    optimizers = [make_optimizer(level, own) for level, own in zip(stage.levels, variables, strict=True)]
    for number, part in enumerate(plan.solvers[index]):
        own = slice(number, number + 2)
        solver = part.make()
        try:
            solver.init(_stub(variables[own]), optimizers[own])
        except RestoreHubError as error:
            raise part.located(error, "solver") from error
        except Exception:
            continue  # a solver that asks for more than variables and optimizers gets all of it before the first step


def _stub(variables: Sequence[tuple[Tensor, ...]]) -> SimpleNamespace:
    """Return what a solver sees of a stage (`restore_hub.contracts`), without energies."""
    if len(variables) == 1:
        return SimpleNamespace(variables=variables[0], names=("variable",), energy=_unknown)
    theta, omega = variables
    methods = dict.fromkeys(("couple", "couple_both", "upper", "lower", "both", "lower_groups"), _unknown)
    return SimpleNamespace(theta=theta, omega=omega, theta_names=("theta",), omega_names=("omega",), **methods)


def _unknown(*_: Any) -> Any:
    raise NotImplementedError


def _check_groups(groups: int, samples: int, parts: int, ranks: int) -> None:
    """Raise BilevelError on all processes alike if one of them couldn't divide its share of a batch."""
    if samples < ranks:
        return  # refused where the batches are made
    for rank in range(ranks):
        own = samples * (rank + 1) // ranks - samples * rank // ranks
        divide([own] * parts, groups, ranks)
