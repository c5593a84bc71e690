"""First derivatives of an energy. An energy that ignores a whole level is an error, never a silent zero."""

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
        x: dE/dx, shaped like the coupling tensors; empty if not requested.
        omega: dE/domega, shaped like omega; empty if not requested.
    """

    value: Tensor
    x: Tensors
    omega: Tensors


def evaluate(
    pair: LevelPair,
    level: Level,
    x: Tensors,
    omega: Tensors,
    batch: Any,
    *,
    wrt: Sequence[str] = ("x", "omega"),
    optional: Sequence[str] = (),
) -> Gradients:
    """Run one energy forward and backward once, at x and omega detached from any graph.

    Args:
        pair: supplies `upper` or `lower`.
        level: which energy.
        x, omega: the point; graphs on it get no gradient.
        batch: the energy's batch.
        wrt: the groups to differentiate by: `x`, `omega` or both.
        optional: the groups that the energy needn't depend on; their derivative may be zero.

    Raises:
        BilevelError: as `gradients`.
    """
    x = tuple(t.detach().requires_grad_("x" in wrt) for t in x)
    omega = tuple(t.detach().requires_grad_("omega" in wrt) for t in omega)
    energy = pair.upper if level == "upper" else pair.lower
    return gradients(
        energy(x, omega, batch),
        x if "x" in wrt else (),
        omega if "omega" in wrt else (),
        energy=f"F_{level}",
        omega_names=pair.omega_names,
        optional=optional,
    )


def evaluate_both(pair: LevelPair, x: Tensors, omega: Tensors, batch: Any) -> tuple[Gradients, Gradients]:
    """Return F_lower and F_upper with their derivatives at one point, on one batch; F_upper needn't depend on x.

    If the pair has `both`, the computation that the energies share runs forward once and backward twice.

    Raises:
        BilevelError: as `gradients`.
    """
    if not hasattr(pair, "both"):
        upper = evaluate(pair, "upper", x, omega, batch, optional=("x",))
        return evaluate(pair, "lower", x, omega, batch), upper
    x, omega = (tuple(t.detach().requires_grad_() for t in tensors) for tensors in (x, omega))
    low, up = pair.both(x, omega, batch)
    names = pair.omega_names
    lower = gradients(low, x, omega, energy="F_lower", omega_names=names, keep=True)
    return lower, gradients(up, x, omega, energy="F_upper", omega_names=names, optional=("x",))


def gradient_graph(
    pair: LevelPair, level: Level, x: Tensors, omega: Tensors, batch: Any, *, optional: Sequence[str] = ()
) -> tuple[Tensor, Tensors]:
    """Return an energy, detached, and its gradient by omega with the graph from x and omega to it.

    Args:
        pair: supplies `upper` or `lower`.
        level: which energy.
        x, omega: the point; the gradient can be differentiated by those tensors that require gradients.
        batch: the energy's batch.
        optional: `omega` if the energy needn't depend on it.

    Raises:
        BilevelError: as `gradients`.
    """
    energy = f"F_{level}"
    value = (pair.upper if level == "upper" else pair.lower)(x, omega, batch)
    check_scalar(value, energy)
    gradient = fill(differentiate(value, omega, graph=True), omega, "omega", energy, "omega" in optional)
    names = _names(energy, 0, len(omega), pair.omega_names)
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

    A tensor that the energy doesn't use has gradient zero, as long as the energy uses another tensor of its group.

    Args:
        value: E, a scalar with its graph.
        x, omega: leaf tensors of the graph; an empty tuple leaves the group out.
        energy: name for errors.
        omega_names: names for errors; `omega[i]` without.
        optional: groups (`x`, `omega`) that E may ignore.
        keep: keep the graph, for another energy that shares it.

    Raises:
        BilevelError: E isn't a scalar, ignores a group that isn't optional, or has a value or gradient that isn't
            finite.
    """
    check_scalar(value, energy)
    found = differentiate(value, (*x, *omega), keep=keep)
    dx = fill(found[: len(x)], x, "x", energy, "x" in optional)
    domega = fill(found[len(x) :], omega, "omega", energy, "omega" in optional)
    value = value.detach()
    # A generator, so that names are made only for an error.
    check_finite((value, *dx, *domega), _names(energy, len(x), len(omega), omega_names))
    return Gradients(value, dx, domega)


def _names(energy: str, x: int, omega: int, omega_names: Sequence[str]) -> Iterator[str]:
    yield f"value of {energy}"
    yield from (f"gradient of {energy} by x[{i}]" for i in range(x))
    known = len(omega_names) == omega
    yield from (f"gradient of {energy} by {omega_names[i] if known else f'omega[{i}]'}" for i in range(omega))


def check_scalar(value: Tensor, energy: str) -> None:
    """Raise BilevelError unless an energy is a 0-dim tensor."""
    if not isinstance(value, Tensor) or value.ndim != 0:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise BilevelError("bilevel.not-a-scalar", energy, got=shape)


def differentiate(
    value: Tensor, tensors: Sequence[Tensor], *, graph: bool = False, keep: bool = False
) -> tuple[Tensor | None, ...]:
    """Return the gradients of a scalar, `None` for a tensor that it doesn't depend on.

    With `graph` they are differentiable; with `keep` the graph can be used again.
    """
    if not value.requires_grad:
        return (None,) * len(tensors)
    return torch.autograd.grad(value, tensors, create_graph=graph, retain_graph=graph or keep, allow_unused=True)


def pull_back(
    outputs: Sequence[Tensor], cotangents: Sequence[Tensor], tensors: Sequence[Tensor], *, keep: bool = False
) -> tuple[Tensor | None, ...]:
    """Return (d outputs / d tensors)^T cotangents, `None` for a tensor that no output depends on.

    Outputs may be constants. With `keep`, the graph can be used again.
    """
    pairs = [(y, c) for y, c in zip(outputs, cotangents, strict=True) if y.requires_grad]
    if not pairs:
        return (None,) * len(tensors)
    outputs, cotangents = zip(*pairs, strict=True)
    return torch.autograd.grad(outputs, tensors, cotangents, retain_graph=keep, allow_unused=True)


def fill(
    found: Sequence[Tensor | None], tensors: Sequence[Tensor], group: str, energy: str, optional: bool = False
) -> Tensors:
    """Return the gradients of one group, with zeros for the tensors that the energy doesn't use.

    Raises:
        BilevelError: the energy uses none of them, and the group isn't optional.
    """
    if tensors and not optional and all(g is None for g in found):
        if (group, energy) == ("x", "F_upper"):
            raise BilevelError("bilevel.no-direct-gradient", energy)
        raise BilevelError("bilevel.no-gradient", energy, group=group)
    return tuple(torch.zeros_like(t) if g is None else g for g, t in zip(found, tensors, strict=True))


def check_finite(tensors: Sequence[Tensor], names: Iterable[str]) -> None:
    """Raise BilevelError at the first tensor with an infinity or a NaN; wait for the device once."""
    if tensors[0].is_cpu:  # where one sum after another is faster than all at once
        total = sum([t.sum().item() for t in tensors])
    else:
        total = float(torch.nn.utils.get_total_norm(list(tensors)))
    if math.isfinite(total):
        return
    # The sum or norm of finite elements may overflow, so check each tensor.
    for tensor, name in zip(tensors, names, strict=True):
        if not bool(tensor.isfinite().all()):
            raise BilevelError("bilevel.not-finite", name)
