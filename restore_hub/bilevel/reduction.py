r"""Sums over the processes that share a batch, each with a part of it: data-parallel training.

Every process holds the same theta and omega, and x of its own samples. With sums S_r and counts C_r of a loss on
process r, and f = `spread`, g = `summed`,

.. math::
    F(x, \omega) = \frac{g(S_r(x_r, f(\omega)))}{g(C_r)}, \qquad g: \sum_r, \quad f: \text{identity}

every process has the value of the whole batch. f and g are each other's transpose: backwards f sums over processes, in
one flat reduction for all tensors, and g is the identity. So dF/dx_r is a process's own slice of dF/dx, dF/domega is
the same everywhere, and higher derivatives are right, too: no method needs to know of it. What is left to methods are
norms over x (`Reduction.norm`) and the sum of what `couple` sends back to theta, in `hypergradient`.

One process is the case without sums, and costs nothing.
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
    """How a problem's processes add up; that of one process by default.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
        add: sums a one-dimensional tensor over all processes, in place, and returns it; to the same bits on each.
        shared: how many coupling tensors, the last ones, are the same on every process, as variables of theta are that
            `couple` returns as they are. Derivatives by these are summed already.
    """

    rank: int = 0
    size: int = 1
    add: Callable[[Tensor], Tensor] = lambda tensor: tensor
    shared: int = 0

    def total(self, tensors: Sequence[Tensor]) -> Tensors:
        """Return the sums over all processes, in one reduction in the widest of the types; without a graph."""
        if self.size == 1:
            return tuple(tensors)
        wide = reduce(torch.promote_types, (t.dtype for t in tensors))
        flat = self.add(torch.cat([t.detach().reshape(-1).to(wide) for t in tensors]))
        pieces = torch.split(flat, [t.numel() for t in tensors])
        return tuple(torch.empty_like(t).copy_(p.view(t.shape)) for t, p in zip(tensors, pieces, strict=True))

    def norm(self, *groups: Tensors) -> float:
        """Return the norm of tensors shaped like x, each group like all of x, over all processes."""
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
        """Return a cotangent at x of which the shared tensors count on one process only, since a sum follows."""
        if self.rank == 0 or not self.shared:
            return cotangent
        own = len(cotangent) - self.shared
        return (*cotangent[:own], *(torch.zeros_like(c) for c in cotangent[own:]))


ALONE = Reduction()


def reduction_of(problem: Any) -> Reduction:
    """Return how a problem's processes add up: its `reduction`, where it has one."""
    found: Reduction = getattr(problem, "reduction", ALONE)
    return found


def spread(reduction: Reduction, tensors: Sequence[Tensor]) -> Tensors:
    """Return variables that all processes hold, such that gradients by them are summed over processes."""
    asked = [t for t in tensors if t.requires_grad]
    if reduction.size == 1 or not asked:
        return tuple(tensors)
    through = iter(_Spread.apply(reduction, *asked))
    return tuple(next(through) if t.requires_grad else t for t in tensors)


def summed(reduction: Reduction, tensors: Sequence[Tensor]) -> Tensors:
    """Return the sums over processes; gradients by them pass on as they are."""
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
        # How many processes have a gradient: one that is missing everywhere stays missing.
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
