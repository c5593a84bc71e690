"""The upper level: one backward pass turns cotangents at the coupling tensors into the hypergradient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, optim

from restore_hub.bilevel.apply import apply
from restore_hub.bilevel.gradients import check_finite, fill
from restore_hub.bilevel.reduction import reduction_of
from restore_hub.bilevel.vectors import Tensors
from restore_hub.contracts import LevelPair
from restore_hub.errors import BilevelError


class Pull(NamedTuple):
    """Coupling tensors with their graph, and a cotangent shaped like them."""

    x: Tensors
    cotangent: Tensors


def hypergradient(pair: LevelPair, *pulls: Pull) -> Tensors:
    r"""Return the gradient by theta from the cotangents of both levels, in one call of autograd.

    .. math:: G = \sum_b \Big(\frac{\partial x_b}{\partial \theta}\Big)^T c_b,  \qquad
        c_{upper} = \frac{\partial F_{upper}}{\partial x_{upper}}, \quad c_{lower} = R

    Pulls with the same `x` object (one batch at both levels) are summed first, so the upper block runs backward once
    for each distinct batch. Sums are in the wider type; autograd casts them to that of `x`. If several processes share
    a batch, one reduction sums their gradients.

    Args:
        pair: supplies theta and its names.
        pulls: one (x, cotangent) for each level that has one.

    Raises:
        BilevelError: no x depends on theta, or the gradient isn't finite (the place names the tensor of theta).
    """
    reduction = reduction_of(pair)
    outputs, cotangents = _merge(Pull(pull.x, reduction.once(pull.cotangent)) for pull in pulls)
    if not outputs:
        raise BilevelError("bilevel.coupling-without-graph", "x")
    found = torch.autograd.grad(outputs, pair.theta, cotangents, allow_unused=True)
    gradient = reduction.total(fill(found, pair.theta, "theta", "x"))
    check_finite(gradient, [f"hypergradient by {name}" for name in pair.theta_names])
    return gradient


class Still(optim.Optimizer):
    """Takes no step: a solver leaves its hypergradient in `.grad`, and the variables where they are."""

    def __init__(self, variables: Sequence[Tensor]) -> None:
        super().__init__(list(variables), {})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do nothing."""


class Responding(Still):
    """Takes no step either, and keeps only what the responses add to the hypergradient, for a level further up.

    Attributes:
        response: shaped like the variables; empty if the solver has no response, `None` before `step_upper`.
    """

    response: Tensors | None = None


def step_upper(pair: LevelPair, optimizer: optim.Optimizer, direct: Pull, *responses: Pull) -> None:
    """Step the upper optimizer along the hypergradient, and leave that in `theta[i].grad`.

    Args:
        pair: supplies theta.
        optimizer: of theta.
        direct: x of the upper batch, and dF_upper/dx.
        responses: x of each batch through which omega depends on theta, and R.

    Raises:
        BilevelError: as `hypergradient`.
    """
    if isinstance(optimizer, Responding):
        optimizer.response = hypergradient(pair, *responses) if responses else ()
    else:
        apply(optimizer, pair.theta, hypergradient(pair, direct, *responses))


def _merge(pulls: Iterable[Pull]) -> tuple[list[Tensor], list[Tensor]]:
    """Return each tensor with a graph once, and the sum of its cotangents."""
    summed: dict[int, tuple[Tensor, Tensor]] = {}
    for pull in pulls:
        for x, c in zip(pull.x, pull.cotangent, strict=True):
            if x.requires_grad:
                summed[id(x)] = (x, summed[id(x)][1] + c if id(x) in summed else c)
    return [x for x, _ in summed.values()], [c for _, c in summed.values()]
