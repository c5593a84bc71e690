r"""Sums over the processes that share a batch, for data-parallel training.

Every process holds the same theta and omega, and x of its own samples. With the sums S_r and counts C_r of a loss on
process r, f = `spread` and g = `summed`,

.. math::
    F(x, \omega) = \frac{g(S_r(x_r, f(\omega)))}{g(C_r)}, \qquad g: \sum_r, \quad f: \text{identity}

every process has the value of the whole batch. f and g are each other's transpose: in the backward pass, f sums over
processes, in one flat reduction for all tensors, and g is the identity. So dF/dx_r is a process's own slice of dF/dx,
dF/domega is the same on every process, and higher derivatives are right too, without any method knowing about it.
Methods only need to take norms over x with `Reduction.norm`; `hypergradient` sums what `couple` sends back to theta.

With one process there are no sums and no cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from restore_hub.bilevel.vectors import Tensors, norm


@dataclass(frozen=True)
class Reduction:
    """How the processes of a level pair add up; a single process by default.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
        add: sums a one-dimensional tensor over all processes, in place, and returns it, with the same bits on each.
        shared: how many coupling tensors, the last ones, are the same on every process, such as variables of theta that
            `couple` returns unchanged. Derivatives by these are summed already.
    """

    rank: int = 0
    size: int = 1
    add: Callable[[Tensor], Tensor] = lambda tensor: tensor
    shared: int = 0

    def total(self, tensors: Sequence[Tensor]) -> Tensors:
        """Return the sums over all processes, by one reduction in the widest type, without a graph."""
        if self.size == 1:
            return tuple(tensors)
        wide = reduce(torch.promote_types, (t.dtype for t in tensors))
        flat = self.add(torch.cat([t.detach().reshape(-1).to(wide) for t in tensors]))
        pieces = torch.split(flat, [t.numel() for t in tensors])
        return tuple(torch.empty_like(t).copy_(p.view(t.shape)) for t, p in zip(tensors, pieces, strict=True))

    def norm(self, *groups: Tensors) -> float:
        """Return the norm over all processes of groups of tensors, each group shaped like x."""
        if self.size == 1:
            return norm([t for group in groups for t in group])
        own = [t for group in groups for t in group[: len(group) - self.shared]]
        shared = [t for group in groups for t in group[len(group) - self.shared :]]
        if not own:
            return norm(shared)
        lengths = torch.zeros(self.size, dtype=torch.float64, device=own[0].device)
        lengths[self.rank] = norm(own)
        return norm([self.add(lengths), *shared])

    def once(self, cotangent: Tensors) -> Tensors:
        """Return a cotangent at x with the shared tensors zero on all processes but one, because a sum follows."""
        if self.rank == 0 or not self.shared:
            return cotangent
        own = len(cotangent) - self.shared
        return (*cotangent[:own], *(torch.zeros_like(c) for c in cotangent[own:]))


ALONE = Reduction()


def reduction_of(level: Any) -> Reduction:
    """Return the `reduction` of a level pair or a single level, or that of one process if it has none."""
    found: Reduction = getattr(level, "reduction", ALONE)
    return found


def spread(reduction: Reduction, tensors: Sequence[Tensor]) -> Tensors:
    """Return variables that all processes hold, so that gradients by them are summed over processes."""
    asked = [t for t in tensors if t.requires_grad]
    if reduction.size == 1 or not asked:
        return tuple(tensors)
    through = iter(_Spread.apply(reduction, *asked))
    return tuple(next(through) if t.requires_grad else t for t in tensors)


def summed(reduction: Reduction, tensors: Sequence[Tensor]) -> Tensors:
    """Return the sums over processes; gradients pass through unchanged."""
    if reduction.size == 1:
        return tuple(tensors)
    return tuple(_Summed.apply(reduction, *tensors))


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, reduction: Reduction, *tensors: Tensor) -> Tensors:
        ctx.set_materialize_grads(False)
        ctx.reduction = reduction
        ctx.like = [(t.shape, t.dtype, t.device) for t in tensors]
        return tuple(t.view_as(t) for t in tensors)

    @staticmethod
    def backward(ctx: Any, *found: Tensor | None) -> Any:
        like = zip(found, ctx.like, strict=True)
        filled = [torch.zeros(s, dtype=d, device=v) if g is None else g for g, (s, d, v) in like]
        # Count the processes with a gradient: one that is missing everywhere stays missing.
        there = filled[0].new_tensor([float(g is not None) for g in found])
        *totals, counts = summed(ctx.reduction, (*filled, there))
        if all(g is not None for g in found):
            return None, *totals
        return None, *(g if count else None for g, count in zip(totals, counts.tolist(), strict=True))


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, reduction: Reduction, *tensors: Tensor) -> Tensors:
        ctx.set_materialize_grads(False)
        ctx.reduction = reduction
        return reduction.total(tensors)

    @staticmethod
    def backward(ctx: Any, *found: Tensor | None) -> Any:
        through = iter(spread(ctx.reduction, [g for g in found if g is not None]))
        return None, *(None if g is None else next(through) for g in found)
