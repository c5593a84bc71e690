"""The energies of two levels as anyone would run them: at the variables that are in place, differentiated at once.

References for what trains are made of these, so that they share nothing with it but the energies themselves: there is
no coupling, and no tensor is replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from restore_hub.bilevel import Tensors, check_finite, check_scalar, differentiate, fill


class Live(NamedTuple):
    """Two energies on their batches, as functions of the variables that are in place.

    Attributes:
        theta, omega: the live variables of both levels.
        upper, lower: return F_upper and F_lower, with the graph from both.
    """

    theta: Tensors
    omega: Tensors
    upper: Callable[[], Tensor]
    lower: Callable[[], Tensor]


def upper_gradients(live: Live) -> tuple[Tensors, Tensors]:
    """Return dF_upper/dtheta and dF_upper/domega, zero where F_upper doesn't use them.

    Raises:
        BilevelError: F_upper isn't a scalar, or a value isn't finite.
    """
    value = live.upper()
    check_scalar(value, "F_upper")
    found = differentiate(value, (*live.theta, *live.omega))
    by_theta = fill(found[: len(live.theta)], live.theta, "theta", "F_upper", optional=True)
    by_omega = fill(found[len(live.theta) :], live.omega, "omega", "F_upper", optional=True)
    check_finite((value.detach(), *by_theta, *by_omega), _names("F_upper", (*by_theta, *by_omega)))
    return by_theta, by_omega


def lower_gradient(live: Live, graph: bool = False) -> tuple[Tensor, Tensors]:
    """Return F_lower, detached, and g_l = dF_lower/domega, with its graph if asked for.

    Raises:
        BilevelError: F_lower isn't a scalar or doesn't use omega, or a value isn't finite.
    """
    value = live.lower()
    check_scalar(value, "F_lower")
    g_l = fill(differentiate(value, live.omega, graph=graph), live.omega, "omega", "F_lower")
    check_finite([t.detach() for t in (value, *g_l)], _names("F_lower", g_l))
    return value.detach(), g_l


def _names(energy: str, gradient: Tensors) -> list[str]:
    return [f"value of {energy}", *[f"gradient of {energy}"] * len(gradient)]


@torch.no_grad()
def put(variables: Tensors, values: Tensors) -> None:
    """Write values into live variables."""
    for w, value in zip(variables, values, strict=True):
        w.copy_(value)
