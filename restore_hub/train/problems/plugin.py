"""A stage of a spec with `problem` as the problem that a solver advances."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from restore_hub.bilevel import (
    ALONE,
    Grouping,
    Reduction,
    Rows,
    Share,
    Tensors,
    everywhere,
    rows_by_parts,
    rows_by_vmap,
    spread,
)
from restore_hub.contracts import Problem
from restore_hub.errors import DataError
from restore_hub.plan.objectives import Sums, combine, shares
from restore_hub.spec import Level, Stage, weights_of
from restore_hub.train.problems.groups import cut, gathered, sizes_of

Batch = Sequence[Mapping[str, Tensor]]  # the parts of a batch


class ProblemStream:
    """An endless sequence of batches of a split: `restore_hub.train.data.Stream` of a problem.

    Args:
        problem: makes the batches.
        split: its split.
        seed: of the run.
        key: name of the stream; streams with different keys are independent.
        rank, ranks: which of so many processes this is; each gets its part of every batch, in order.
    """

    def __init__(self, problem: Problem, split: str, seed: int, key: str, rank: int = 0, ranks: int = 1) -> None:
        self._problem, self._split, self._rank, self._ranks = problem, split, rank, ranks
        self._seed = int(np.random.SeedSequence((seed, zlib.crc32(key.encode()))).generate_state(1, np.uint64)[0])

    def batch(self, index: int, device: str | torch.device = "cpu") -> dict[str, Tensor]:
        """Return batch number `index`, or this process's part of it.

        Raises:
            DataError: fewer samples than processes.
        """
        made = self._problem.batch(self._split, self._seed, index)
        if self._ranks > 1:
            count = len(next(iter(made.values())))
            if count < self._ranks:
                raise DataError(
                    f"a batch of {self._split!r} has {count} samples, which {self._ranks} processes cannot share; "
                    "train with fewer processes, or larger batches"
                )
            own = slice(count * self._rank // self._ranks, count * (self._rank + 1) // self._ranks)
            made = {name: tensor[own] for name, tensor in made.items()}
        return {name: tensor.to(device) for name, tensor in made.items()}


class ProblemLevel:
    """One level of groups of variables on one energy: what `joint` steps (`restore_hub.contracts.SingleLevel`)."""

    def __init__(self, problem: Problem, level: Level, reduction: Reduction = ALONE) -> None:
        self.reduction = reduction
        self._energy = _Energy(problem, level, reduction)
        self.names, self.variables = _variables(problem, level)

    def energy(self, batch: Batch) -> Tensor:
        """Return the objective on a batch."""
        return self._energy(batch, {})


class ProblemPair:
    """Two levels of groups of variables (`restore_hub.contracts.GroupedPair`); x is theta itself."""

    def __init__(self, problem: Problem, upper: Level, lower: Level, reduction: Reduction = ALONE) -> None:
        self.theta_names, self.theta = _variables(problem, upper)
        self.omega_names, self.omega = _variables(problem, lower)
        self.reduction = replace(reduction, shared=len(self.theta))
        self._upper, self._lower = _Energy(problem, upper, reduction), _Energy(problem, lower, reduction)

    def couple(self, _: Batch) -> tuple[Tensor, ...]:
        """Return theta."""
        return self.theta

    def upper(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Batch) -> Tensor:
        """Return F_upper(x, omega) on a batch."""
        return self._upper(batch, self._spread(x, omega))

    def lower(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Batch) -> Tensor:
        """Return F_lower(x, omega) on a batch."""
        return self._lower(batch, self._spread(x, omega))

    def lower_groups(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Batch, groups: Grouping) -> Rows:
        """Return the gradients of F_lower by group of samples: all at once where the groups are of one size.

        Raises:
            BilevelError: more groups than samples, or a number that the parts of the batch do not share evenly.
        """
        sizes = sizes_of(batch, groups, self.reduction.size)
        alike = {size for counts in sizes for size in counts}
        if len(alike) > 1:
            pieces = [piece for part, counts in zip(batch, sizes, strict=True) for piece in cut(part, counts)]
            sums = [self._lower.sums(piece, self._named(x, omega)) for piece in pieces]
            rows = rows_by_parts(shares(self._lower.weights, sums, self.reduction), omega, [()] * len(sums), x)
            return everywhere(gathered(rows, sizes, 0), self.reduction)
        whole = {name: torch.cat([part[name] for part in batch]) for name in batch[0]}
        stacked = {name: tensor.reshape(-1, *alike, *tensor.shape[1:]) for name, tensor in whole.items()}
        terms = []
        for index, weight in enumerate(self._lower.weights.values()):

            def energy(x: Tensors, w: Tensors, group: Any, index: int = index) -> tuple[Tensor, Tensor | int]:
                return self._lower.sums(group, self._named(x, w))[index]

            terms.append((weight, rows_by_vmap(energy, x, omega, stacked, self.reduction)))
        return everywhere(_weighted(terms), self.reduction)

    def _spread(self, x: Tensors, omega: Tensors) -> dict[str, Tensor]:
        both = spread(self.reduction, (*x, *omega))
        return self._named(both[: len(x)], both[len(x) :])

    def _named(self, x: Sequence[Tensor], omega: Sequence[Tensor]) -> dict[str, Tensor]:
        return dict(zip((*self.theta_names, *self.omega_names), (*x, *omega), strict=True))


def pair_of_problem(problem: Problem, stage: Stage, reduction: Reduction = ALONE) -> ProblemLevel | ProblemPair:
    """Return the problem of a stage; groups of variables of no level stay as they are."""
    active = {name for level in stage.levels for name in level.blocks}
    for name, block in problem.blocks.items():
        block.train(name in active)
    if len(stage.levels) == 2:
        upper, lower = stage.levels
        return ProblemPair(problem, upper, lower, reduction)
    return ProblemLevel(problem, stage.levels[0], reduction)


class _Energy:
    """The weighted energies of a level, at the live variables but for those that are given."""

    def __init__(self, problem: Problem, level: Level, reduction: Reduction) -> None:
        self.weights = weights_of(level.objective)
        self._reduction = reduction
        self._problem = problem
        self._live = {
            (block, name): tensor
            for block, module in problem.blocks.items()
            for name, tensor in module.named_parameters()
        }

    def __call__(self, batch: Batch, given: Mapping[str, Tensor]) -> Tensor:
        return combine(self.weights, [self.sums(part, given) for part in batch], self._reduction)

    def sums(self, part: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Sums:
        variables: dict[str, dict[str, Tensor]] = {}
        for (block, name), tensor in self._live.items():
            variables.setdefault(block, {})[name] = given.get(f"{block}.{name}", tensor)
        return tuple(self._problem.energies[name](variables, part) for name in self.weights)


def _variables(problem: Problem, level: Level) -> tuple[tuple[str, ...], tuple[Tensor, ...]]:
    named = [(f"{block}.{name}", p) for block in level.blocks for name, p in problem.blocks[block].named_parameters()]
    named = [(name, p) for name, p in named if p.requires_grad]
    return tuple(name for name, _ in named), tuple(p for _, p in named)


def _weighted(terms: Sequence[tuple[float, Rows]]) -> Rows:
    """Return the rows of a weighted sum of energies."""
    value = torch.stack([weight * rows.value for weight, rows in terms]).sum()
    omega = zip(*(tuple(weight * g for g in rows.omega) for weight, rows in terms), strict=True)
    x = zip(*(tuple(weight * s.value for s in rows.x) for weight, rows in terms), strict=True)
    return Rows(value, tuple(sum(g[1:], g[0]) for g in omega), tuple(Share(sum(t[1:], t[0])) for t in x))
