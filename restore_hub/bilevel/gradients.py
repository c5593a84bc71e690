"""First derivatives of an energy, checked: an energy that misses a whole level is an error, never a silent zero."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from restore_hub.bilevel.vectors import Tensors
from restore_hub.contracts import LevelPair
from restore_hub.errors import BilevelError

Level = Literal["upper", "lower"]


class Gradients(NamedTuple):
    """An energy and its derivatives at one point, all detached.

    Attributes:
        value: the energy, a scalar.
        x: dE/dx, shaped like the coupling tensors; empty where it was not asked for.
        omega: dE/domega, shaped like omega; empty where it was not asked for.
    """

    value: Tensor
    x: Tensors
    omega: Tensors


def evaluate(
    problem: LevelPair,
    level: Level,
    x: Tensors,
    omega: Tensors,
    batch: Any,
    *,
    wrt: Sequence[str] = ("x", "omega"),
    optional: Sequence[str] = (),
) -> Gradients:
    """Run one energy of a problem forward and backward once, at x and omega cut from any graph.

    Args:
        problem: supplies `upper` or `lower`.
        level: which energy.
        x, omega: the point; they may carry graphs, into which nothing flows.
        batch: handed to the energy.
        wrt: the groups to differentiate by, of `x` and `omega`.
        optional: the groups on which the energy need not depend (its derivative is zero then).

    Raises:
        BilevelError: as `gradients` does.
    """
    x = tuple(t.detach().requires_grad_("x" in wrt) for t in x)
    omega = tuple(t.detach().requires_grad_("omega" in wrt) for t in omega)
    energy = problem.upper if level == "upper" else problem.lower
    return gradients(
        energy(x, omega, batch),
        x if "x" in wrt else (),
        omega if "omega" in wrt else (),
        energy=f"F_{level}",
        omega_names=problem.omega_names,
        optional=optional,
    )


def evaluate_both(problem: LevelPair, x: Tensors, omega: Tensors, batch: Any) -> tuple[Gradients, Gradients]:
    """Return F_lower and F_upper with their derivatives at one point, on one batch; F_upper need not depend on x.

    Where the problem has `both`, what the energies have in common runs forward once, and only backward twice.

    Raises:
        BilevelError: as `gradients` does.
    """
    if not hasattr(problem, "both"):
        upper = evaluate(problem, "upper", x, omega, batch, optional=("x",))
        return evaluate(problem, "lower", x, omega, batch), upper
    x, omega = (tuple(t.detach().requires_grad_() for t in tensors) for tensors in (x, omega))
    low, up = problem.both(x, omega, batch)
    names = problem.omega_names
    lower = gradients(low, x, omega, energy="F_lower", omega_names=names, keep=True)
    return lower, gradients(up, x, omega, energy="F_upper", omega_names=names, optional=("x",))


def gradient_graph(
    problem: LevelPair, level: Level, x: Tensors, omega: Tensors, batch: Any, *, optional: Sequence[str] = ()
) -> tuple[Tensor, Tensors]:
    """Return an energy, detached, and its gradient by omega with the graph from x and omega to it.

    Args:
        problem: supplies `upper` or `lower`.
        level: which energy.
        x, omega: the point; what of them asks for gradients is what the gradient can be differentiated by.
        batch: handed to the energy.
        optional: `omega` where the energy need not depend on it.

    Raises:
        BilevelError: as `gradients` does.
    """
    energy = f"F_{level}"
    value = (problem.upper if level == "upper" else problem.lower)(x, omega, batch)
    check_scalar(value, energy)
    gradient = fill(differentiate(value, omega, graph=True), omega, "omega", energy, "omega" in optional)
    names = _names(energy, 0, len(omega), problem.omega_names)
    check_finite([t.detach() for t in (value, *gradient)], names)
    return value.detach(), gradient


def gradients(
    value: Tensor,
    x: Tensors,
    omega: Tensors,
    *,
    energy: str = "the energy",
    omega_names: Sequence[str] = (),
    optional: Sequence[str] = (),
    keep: bool = False,
) -> Gradients:
    """Return (E, dE/dx, dE/domega) in one backward pass.

    A single tensor that the energy does not use has gradient zero, provided that the energy uses another tensor
    of its group.

    Args:
        value: E, a scalar with its graph.
        x, omega: leaf tensors of the graph; an empty tuple leaves the group out.
        energy: name for error messages.
        omega_names: names for error messages; `omega[i]` without.
        optional: groups (`x`, `omega`) of which E may use no tensor at all.
        keep: leave the graph as it is, for another energy that shares it.

    Raises:
        BilevelError: E is no scalar, depends on no tensor of a group that is not optional, or is not finite,
            or one of its gradients is not finite.
    """
    check_scalar(value, energy)
    found = differentiate(value, (*x, *omega), keep=keep)
    dx = fill(found[: len(x)], x, "x", energy, "x" in optional)
    domega = fill(found[len(x) :], omega, "omega", energy, "omega" in optional)
    value = value.detach()
    # A generator: names are made where one is needed.
    check_finite((value, *dx, *domega), _names(energy, len(x), len(omega), omega_names))
    return Gradients(value, dx, domega)


def _names(energy: str, x: int, omega: int, omega_names: Sequence[str]) -> Iterator[str]:
    yield f"the value of {energy}"
    yield from (f"the gradient of {energy} by x[{i}]" for i in range(x))
    known = len(omega_names) == omega
    yield from (f"the gradient of {energy} by {omega_names[i] if known else f'omega[{i}]'}" for i in range(omega))


def check_scalar(value: Tensor, energy: str) -> None:
    """Raise BilevelError unless an energy is a 0-dim tensor."""
    if not isinstance(value, Tensor) or value.ndim != 0:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise BilevelError(f"{energy} must be a scalar tensor of shape (), got {shape}; reduce it to a sum or a mean")


def differentiate(
    value: Tensor, tensors: Sequence[Tensor], *, graph: bool = False, keep: bool = False
) -> tuple[Tensor | None, ...]:
    """Return the gradients of a scalar, `None` where it does not depend on a tensor.

    With `graph` they are differentiable; with `keep` the graph can be gone through again.
    """
    if not value.requires_grad:
        return (None,) * len(tensors)
    return torch.autograd.grad(value, tensors, create_graph=graph, retain_graph=graph or keep, allow_unused=True)


def pull_back(
    outputs: Sequence[Tensor], cotangents: Sequence[Tensor], tensors: Sequence[Tensor], *, keep: bool = False
) -> tuple[Tensor | None, ...]:
    """Return (d outputs / d tensors)^T cotangents, `None` where no output depends on a tensor.

    Outputs may be constants. With `keep`, the graph can be gone through again.
    """
    pairs = [(y, c) for y, c in zip(outputs, cotangents, strict=True) if y.requires_grad]
    if not pairs:
        return (None,) * len(tensors)
    outputs, cotangents = zip(*pairs, strict=True)
    return torch.autograd.grad(outputs, tensors, cotangents, retain_graph=keep, allow_unused=True)


def fill(
    found: Sequence[Tensor | None], tensors: Sequence[Tensor], group: str, energy: str, optional: bool = False
) -> Tensors:
    """Return the gradients of one group, zero for a tensor that the energy does not use beside others that it does.

    Raises:
        BilevelError: all are missing and the group is not optional.
    """
    if tensors and not optional and all(g is None for g in found):
        if (group, energy) == ("x", "F_upper"):
            raise BilevelError(
                "F_upper depends on no tensor of x: theta acts through the lower level alone, whose answer "
                "`alternating` leaves out; take a solver with a response, or compute F_upper from the given x"
            )
        raise BilevelError(
            f"{energy} depends on no tensor of {group}: its gradient is missing, not zero; compute the energy from "
            f"the {group} that it is given, and look for a `detach` or `no_grad` on the way"
        )
    return tuple(torch.zeros_like(t) if g is None else g for g, t in zip(found, tensors, strict=True))


def check_finite(tensors: Sequence[Tensor], names: Iterable[str]) -> None:
    """Raise BilevelError naming the first tensor with an infinity or a NaN; waits for the device once."""
    if tensors[0].is_cpu:  # where one sum after another is cheaper than all at once
        total = sum([t.sum().item() for t in tensors])
    else:
        total = float(torch.nn.utils.get_total_norm(list(tensors)))
    if math.isfinite(total):
        return
    # A sum or norm may overflow where every element is finite, so look at each tensor before complaining.
    for tensor, name in zip(tensors, names, strict=True):
        if not bool(tensor.isfinite().all()):
            raise BilevelError(
                f"{name} is not finite; lower the learning rate, or look for a division by zero or a log of zero"
            )
