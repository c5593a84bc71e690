"""Gradients of the lower energy by group: by sample, or by part of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.func import grad, vmap

from restore_hub.bilevel.gradients import Gradients, check_finite, fill
from restore_hub.bilevel.reduction import ALONE, Reduction
from restore_hub.bilevel.vectors import Tensors
from restore_hub.contracts import LevelPair
from restore_hub.errors import BilevelError

Grouping = int | Literal["sample"]


class Share(NamedTuple):
    """dF_j/dx for all groups j and one coupling tensor x.

    Attributes:
        value: (m, *x.shape); with `owner`, x.shape: dF_j/dx for the single group j that reads an entry.
        owner: the group of each entry along the first axis of x, (len(x),) int64; `None` if groups share entries.
    """

    value: Tensor
    owner: Tensor | None = None

    def weighted(self, weights: Tensor) -> Tensor:
        """Return sum_j weights_j dF_j/dx, shaped like x; the weights are (m,) float64."""
        if self.owner is None:
            total: Tensor = torch.tensordot(weights.to(self.value), self.value, dims=1)
            return total
        return self.value * weights.to(self.value)[self.owner].reshape(-1, *[1] * (self.value.ndim - 1))


class Rows(NamedTuple):
    """An energy F = sum_j F_j over m groups and the derivatives of each F_j at one point, all detached.

    Attributes:
        value: F, a scalar.
        omega: dF_j/domega, (m, *shape) for each tensor of omega.
        x: dF_j/dx for each coupling tensor.
    """

    value: Tensor
    omega: Tensors
    x: tuple[Share, ...]

    def total(self) -> Gradients:
        """Return F, dF/dx and dF/domega: the sums over the groups."""
        ones = torch.ones(len(self.omega[0]), dtype=torch.float64, device=self.omega[0].device)
        return Gradients(self.value, tuple(s.weighted(ones) for s in self.x), tuple(g.sum(0) for g in self.omega))


def lower_rows(pair: LevelPair, x: Tensors, omega: Tensors, batch: Any, groups: Grouping) -> Rows:
    """Return the lower energy's gradients by group, at x and omega detached from any graph.

    Args:
        pair: one with `lower_groups` (`restore_hub.contracts.GroupedPair`).
        x, omega: the point.
        batch: the lower batch.
        groups: `sample`, or the number of parts of the batch, at least 1.

    Raises:
        BilevelError: the pair has no `lower_groups`; F_lower ignores x or omega; or its value or a gradient isn't
            finite.
    """
    cut = getattr(pair, "lower_groups", None)
    if cut is None:
        raise BilevelError("bilevel.no-groups", type(pair).__name__)
    x, omega = (tuple(t.detach().requires_grad_() for t in tensors) for tensors in (x, omega))
    rows: Rows = cut(x, omega, batch, groups)
    names = ["value of F_lower", *(f"gradient of F_lower's groups by {name}" for name in pair.omega_names)]
    names += [f"gradient of F_lower's groups by x[{i}]" for i in range(len(rows.x))]
    check_finite((rows.value, *rows.omega, *(share.value for share in rows.x)), names)
    return rows


def rows_by_vmap(
    energy: Callable[[Tensors, Tensors, Any], tuple[Tensor, Tensor | int]],
    x: Tensors,
    omega: Tensors,
    stacked: Any,
    reduction: Reduction = ALONE,
) -> Rows:
    """Return the gradients of an energy (sum, count) by group, all groups at once.

    Cost: one forward and backward pass over the batch. Memory: m times that of x and omega.

    Args:
        energy: takes (x, omega, group) and returns the sum over the group's terms and their number; uses only
            operations that `torch.func.vmap` supports, without branches on values.
        x, omega: the point, shared by all groups.
        stacked: tensors with the groups along the first axis, in any containers.
        reduction: of the processes that share the batch; the groups are this process's.
    """

    def total(x: Tensors, omega: Tensors, group: Any) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        value, count = energy(x, omega, group)
        return value, (value.detach(), torch.as_tensor(count, dtype=torch.float64, device=value.device))

    # Detached, or autograd would record everything a second time.
    x, omega = (tuple(t.detach() for t in tensors) for tensors in (x, omega))
    each = vmap(grad(total, argnums=(0, 1), has_aux=True), in_dims=(None, None, 0), randomness="different")
    (dx, domega), (values, counts) = each(x, omega, stacked)
    (count,) = reduction.total([counts.sum()])
    shares = tuple(Share((t / count).detach()) for t in dx)
    return Rows((values.sum() / count).detach(), tuple((g / count).detach() for g in domega), shares)


def everywhere(rows: Rows, reduction: Reduction) -> Rows:
    """Return the rows of all processes, given those of this process's groups; x stays this process's.

    Memory: all m rows on each process. Shares without `owner` belong to coupling tensors that all processes hold.
    """
    if reduction.size == 1:
        return rows
    m = len(rows.omega[0])
    each = torch.zeros(reduction.size, dtype=torch.int64, device=rows.value.device)
    each[reduction.rank] = m
    (each,) = reduction.total([each])
    first, total = int(each[: reduction.rank].sum()), int(each.sum())

    def placed(tensor: Tensor) -> Tensor:
        whole = tensor.new_zeros(total, *tensor.shape[1:])
        whole[first : first + m] = tensor
        return whole

    shared = [placed(share.value) for share in rows.x if share.owner is None]
    value, *tensors = reduction.total([rows.value, *map(placed, rows.omega), *shared])
    found = iter(tensors[len(rows.omega) :])
    x = tuple(Share(next(found)) if s.owner is None else Share(s.value, s.owner + first) for s in rows.x)
    return Rows(value, tuple(tensors[: len(rows.omega)]), x)


def rows_by_parts(energies: Sequence[Tensor], omega: Tensors, pieces: Sequence[Tensors], shared: Tensors) -> list[Rows]:
    """Return the gradients of each F_j, one backward pass after another, as Rows of one group each.

    Args:
        energies: F_1 .. F_m, scalars whose graphs share only omega and `shared`.
        omega, shared: leaf tensors that all groups read.
        pieces: for each group j, the leaf tensors that only it reads.

    Raises:
        BilevelError: no F_j depends on omega, or none depends on x.
    """
    found = []
    for value, own in zip(energies, pieces, strict=True):
        leaves = (*omega, *own, *shared)
        unused = (None,) * len(leaves)
        found.append(torch.autograd.grad(value, leaves, allow_unused=True) if value.requires_grad else unused)
    for group, part in (("omega", slice(None, len(omega))), ("x", slice(len(omega), None))):
        used = [next((g for g in each[part] if g is not None), None) for each in found]
        if all(g is None for g in used):
            fill((None,), omega[:1] or shared[:1], group, "F_lower")  # raises
    return [_row(value, each, omega, own, shared) for value, each, own in zip(energies, found, pieces, strict=True)]


def _row(value: Tensor, found: Sequence[Tensor | None], omega: Tensors, own: Tensors, shared: Tensors) -> Rows:
    gradients = [torch.zeros_like(t) if g is None else g for g, t in zip(found, (*omega, *own, *shared), strict=True)]
    domega, dx = gradients[: len(omega)], gradients[len(omega) :]
    return Rows(value.detach(), tuple(g[None] for g in domega), tuple(Share(t[None]) for t in dx))
