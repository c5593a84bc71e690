"""The upper level: cotangents at the coupling tensors become the hypergradient, in one backward pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

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


def hypergradient(problem: LevelPair, *pulls: Pull) -> Tensors:
    r"""Return the gradient by theta of all levels' cotangents, in one call of autograd.

    .. math:: G = \sum_b \Big(\frac{\partial x_b}{\partial \theta}\Big)^T c_b,  \qquad
        c_{upper} = \frac{\partial F_{upper}}{\partial x_{upper}}, \quad c_{lower} = R

    Pulls with the very same `x` (one batch at both levels) are summed first, so that the upper block runs
    backward once for each distinct batch. Sums are taken in the wider type; autograd casts them to that of `x`.
    Where several processes share a batch, their gradients are summed in one reduction.

    Args:
        problem: supplies theta and its names.
        pulls: one (x, cotangent) for each level that sends one.

    Raises:
        BilevelError: no x depends on theta, or the gradient is not finite (the tensor of theta is named).
    """
    reduction = reduction_of(problem)
    outputs, cotangents = _merge(Pull(pull.x, reduction.once(pull.cotangent)) for pull in pulls)
    if not outputs:
        raise BilevelError(
            "the coupling x depends on no tensor of theta: its gradient is missing, not zero; `couple` must run "
            "the upper blocks with gradients enabled"
        )
    found = torch.autograd.grad(outputs, problem.theta, cotangents, allow_unused=True)
    gradient = reduction.total(fill(found, problem.theta, "theta", "the coupling x"))
    check_finite(gradient, [f"the hypergradient by {name}" for name in problem.theta_names])
    return gradient


def step_upper(problem: LevelPair, optimizer: optim.Optimizer, *pulls: Pull) -> None:
    """Step the upper optimizer along the hypergradient, which stays in `theta[i].grad`."""
    apply(optimizer, problem.theta, hypergradient(problem, *pulls))


def _merge(pulls: Iterable[Pull]) -> tuple[list[Tensor], list[Tensor]]:
    """Return each tensor that carries a graph once, with the sum of its cotangents."""
    summed: dict[int, tuple[Tensor, Tensor]] = {}
    for pull in pulls:
        for x, c in zip(pull.x, pull.cotangent, strict=True):
            if x.requires_grad:
                summed[id(x)] = (x, summed[id(x)][1] + c if id(x) in summed else c)
    return [x for x, _ in summed.values()], [c for _, c in summed.values()]
