"""Lower steps kept in a graph, and the reverse pass through them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, optim

from restore_hub.bilevel.apply import apply, release
from restore_hub.bilevel.coupling import Levels, coupled
from restore_hub.bilevel.gradients import evaluate, fill, gradient_graph, pull_back
from restore_hub.bilevel.update import check_differentiable, keep, recall, update
from restore_hub.bilevel.vectors import Tensors
from restore_hub.contracts import Batches, LevelPair

# (number of the lower step from 0, omega before it, g_l there) -> the gradient to step along
Aggregate: TypeAlias = Callable[[int, Tensors, Tensors], Tensors]


class Unrolled(NamedTuple):
    """What unrolled lower steps pass to the upper level.

    Attributes:
        x: coupling tensors of each distinct batch in the graph, in order, with their graph from theta.
        roots: the same tensors detached, where the graph of `omega` starts.
        omega: omega after the last step, with the graph from `roots`.
        loss: F_lower before the last step, a detached scalar.
        omega_grad: g_l before the last step, detached.
    """

    x: tuple[Tensors, ...]
    roots: tuple[Tensors, ...]
    omega: Tensors
    loss: Tensor
    omega_grad: Tensors


def unroll(
    pair: LevelPair,
    optimizer: optim.Optimizer,
    batches: Batches,
    *,
    last: int | None = None,
    levels: Levels | None = None,
    aggregate: Aggregate | None = None,
) -> Unrolled:
    """Take `batches.steps` lower steps, the last ones in a graph from x to omega, and leave their result in omega.

    x is detached from theta, so the upper block runs forward once for each distinct batch and never backward. The
    optimizer's state from before the graph (momentum, say) counts as constant.

    Memory: for each step in the graph, that of the energy's double backward pass.

    Args:
        pair: omega's tensors stay the same objects; each step makes them share the memory of its result.
        optimizer: one that `check_differentiable` accepts; it takes over the state after the last step.
        batches: `lower` holds one batch, or one per step.
        last: how many steps to keep in the graph, all by default; earlier ones run in place.
        levels: x of both levels' batches, if known.
        aggregate: what to step along instead of g_l.

    Raises:
        BilevelError: as `descend` and `check_differentiable`. A step whose gradient isn't finite is not taken; the
            steps before it remain.
    """
    check_differentiable(optimizer)  # settings and hooks may have changed since the solver's `init`
    kept = batches.steps if last is None else min(last, batches.steps)
    walk = coupled(pair, batches, graphs=kept, levels=levels)
    for x, batch in islice(walk, batches.steps - kept):
        apply(optimizer, pair.omega, evaluate(pair, "lower", x, pair.omega, batch, wrt=("omega",)).omega)
    release(pair.omega)
    xs: list[Tensors] = []
    roots: list[Tensors] = []
    # `data`, because a detached tensor would share a version counter with omega, which `_adopt` changes.
    omega = tuple(w.data.requires_grad_() for w in pair.omega)
    memory = recall(optimizer, pair.omega)
    for step, (x, batch) in enumerate(walk, batches.steps - kept):
        if not xs or xs[-1] is not x:
            xs.append(x)
            roots.append(tuple(t.detach().requires_grad_() for t in x))
        loss, g_l = gradient_graph(pair, "lower", roots[-1], omega, batch)
        along = g_l if aggregate is None else aggregate(step, omega, g_l)
        omega, memory = update(optimizer, pair.omega, omega, along, memory)
        _adopt(pair.omega, omega)
        keep(optimizer, pair.omega, memory)
    return Unrolled(tuple(xs), tuple(roots), omega, loss, tuple(g.detach() for g in g_l))


def reverse(unrolled: Unrolled, g_u: Tensors, further: Tensors = ()) -> tuple[Tensors, ...]:
    r"""Return the responses R at the x of each distinct batch, then at `further` roots; free the graph.

    .. math:: R = \Big(\frac{\partial \omega_K}{\partial x}\Big)^T \frac{\partial F_{upper}}{\partial \omega}(\omega_K)

    Sign: R is added to dF_upper/dx. Exact for the map from x to omega_K, without damping.

    Raises:
        BilevelError: omega_K depends on no tensor of x.
    """
    groups = (*unrolled.roots, *((further,) if further else ()))
    tensors = tuple(t for group in groups for t in group)
    found = pull_back(unrolled.omega, g_u, tensors)
    filled = iter(fill(found, tensors, "x", "dF_lower/domega"))
    return tuple(tuple(next(filled) for _ in group) for group in groups)


def _adopt(live: Tensors, values: Tensors) -> None:
    """Make live tensors share the memory of the values; copies would take two more vectors of the size of omega.

    So a pair that treats F_lower at the live omega differently (for running statistics) recognises each step.
    """
    for w, value in zip(live, values, strict=True):
        w.data = value.detach()
    torch.clear_autocast_cache()
