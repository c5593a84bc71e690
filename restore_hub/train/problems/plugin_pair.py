"""One or two levels of a plugin's problem, as what a solver sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from restore_hub.batch import Batch, Value
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
from restore_hub.plan.objectives import Sums, combine, shares
from restore_hub.plan.problems import initial_of
from restore_hub.spec import Level, weights_of
from restore_hub.train.problems.groups import gathered, sizes_of
from restore_hub.train.problems.trainable import by_block, parameters_of


class ProblemLevel:
    """The one level of a stage that has no other, such as `joint` (`restore_hub.contracts.SingleLevel`)."""

    def __init__(self, problem: Problem, level: Level, reduction: Reduction = ALONE) -> None:
        self.reduction = reduction
        self._energy = _Energy(problem, level, reduction)
        kept = [name for name in level.blocks if name not in initial_of(problem)]  # others are in no block
        self.names, self.variables = parameters_of(problem.blocks, kept)

    def energy(self, batch: Batch) -> Tensor:
        """Return the objective on a batch."""
        return self._energy(batch, {})

    def set_others(self, values: Mapping[str, Tensor]) -> None:
        """Use values for variables of other levels, or of none, in place of the live ones."""
        self._energy.others = values


class ProblemPair:
    """Two levels of blocks of variables (`restore_hub.contracts.GroupedPair`); x is theta itself.

    Args:
        problem: supplies the energies.
        upper, lower: the levels.
        reduction: over the processes that share a batch.
        first: a batch like those of the lower level, for the names of the variables that are made anew from each; the
            problem's own first one by default.
    """

    def __init__(
        self,
        problem: Problem,
        upper: Level,
        lower: Level,
        reduction: Reduction = ALONE,
        first: Mapping[str, Value] | None = None,
    ) -> None:
        self.theta_names, self.theta = parameters_of(problem.blocks, upper.blocks)
        self._initial = {name: make for name, make in initial_of(problem).items() if name in lower.blocks}
        if self._initial:
            self.omega_names = tuple(self._made(_beside(problem, first or problem.batch(lower.splits[0], 0, 0))))
            self.omega = tuple(torch.empty(0, requires_grad=True) for _ in self.omega_names)
        else:
            self.omega_names, self.omega = parameters_of(problem.blocks, lower.blocks)
        self.reduction = replace(reduction, shared=len(self.theta))
        self._upper, self._lower = _Energy(problem, upper, reduction), _Energy(problem, lower, reduction)

    def renew(self, batch: Batch) -> None:
        """Make the lower variables anew from a batch, if that is where they come from; they stay the same objects."""
        if not self._initial:
            return
        made = self._made(batch.tensors)
        for name, w in zip(self.omega_names, self.omega, strict=True):
            w.data = made[name].detach().clone()

    def _made(self, batch: Mapping[str, Value]) -> dict[str, Tensor]:
        blocks = {block: make(batch) for block, make in self._initial.items()}
        return {f"{block}.{name}": value for block, made in blocks.items() for name, value in made.items()}

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
        """Return the gradients of F_lower by group of samples, all at once if the groups have one size and nothing is
        ragged.

        Raises:
            BilevelError: more groups than samples, or a number that doesn't divide evenly among parts or processes.
        """
        sizes = sizes_of(batch, groups, self.reduction.size)
        alike = {size for counts in sizes for size in counts}
        stackable = {name: t for name, t in batch.tensors.items() if isinstance(t, Tensor)}
        if len(alike) > 1 or len(stackable) < len(batch.tensors):
            pieces = [piece for part, counts in zip(batch.parts, sizes, strict=True) for piece in part.split(counts)]
            sums = [self._lower.sums(piece.tensors, self._named(x, omega)) for piece in pieces]
            rows = rows_by_parts(shares(self._lower.weights, sums, self.reduction), omega, [()] * len(sums), x)
            return everywhere(gathered(rows, sizes, 0), self.reduction)
        stacked = {name: tensor.reshape(-1, *alike, *tensor.shape[1:]) for name, tensor in stackable.items()}
        terms = []
        for name, weight in self._lower.weights.items():

            def energy(x: Tensors, w: Tensors, group: Any, name: str = name) -> tuple[Tensor, Tensor | int]:
                return self._lower.sums(group, self._named(x, w))[name]

            terms.append((weight, rows_by_vmap(energy, x, omega, stacked, self.reduction)))
        return everywhere(_weighted(terms), self.reduction)

    def set_others(self, values: Mapping[str, Tensor]) -> None:
        """Use values for variables of other levels, in place of the live ones."""
        for energy in (self._upper, self._lower):
            energy.others = values

    def check_groups(self) -> None:
        """Do nothing: energies of a problem are sums over samples by contract."""

    def _spread(self, x: Tensors, omega: Tensors) -> dict[str, Tensor]:
        both = spread(self.reduction, (*x, *omega))
        return self._named(both[: len(x)], both[len(x) :])

    def _named(self, x: Sequence[Tensor], omega: Sequence[Tensor]) -> dict[str, Tensor]:
        return dict(zip((*self.theta_names, *self.omega_names), (*x, *omega), strict=True))


class _Energy:
    """The weighted energies of a level, at the live variables except where others are given."""

    def __init__(self, problem: Problem, level: Level, reduction: Reduction) -> None:
        self.weights = weights_of(level.objective)
        self._reduction = reduction
        self._problem = problem
        self.others: Mapping[str, Tensor] = {}
        self._live = {
            (block, name): tensor
            for block, module in problem.blocks.items()
            for name, tensor in module.named_parameters()
        }

    def __call__(self, batch: Batch, given: Mapping[str, Tensor]) -> Tensor:
        return combine(self.weights, [self.sums(part.tensors, given) for part in batch.parts], self._reduction)

    def sums(self, part: Mapping[str, Value], given: Mapping[str, Tensor]) -> Sums:
        variables = by_block({**self.others, **given})
        for (block, name), tensor in self._live.items():
            variables.setdefault(block, {}).setdefault(name, tensor)
        return {name: self._problem.energies[name](variables, part) for name in self.weights}


def _weighted(terms: Sequence[tuple[float, Rows]]) -> Rows:
    """Return the rows of a weighted sum of energies."""
    value = torch.stack([weight * rows.value for weight, rows in terms]).sum()
    omega = zip(*(tuple(weight * g for g in rows.omega) for weight, rows in terms), strict=True)
    x = zip(*(tuple(weight * s.value for s in rows.x) for weight, rows in terms), strict=True)
    return Rows(value, tuple(sum(g[1:], g[0]) for g in omega), tuple(Share(sum(t[1:], t[0])) for t in x))


def _beside(problem: Problem, batch: Mapping[str, Value]) -> Mapping[str, Value]:
    """Return a batch on the device of the blocks."""
    parameter = next(iter(problem.blocks.parameters()), None)
    return batch if parameter is None else Batch(batch).to(parameter.device).tensors
