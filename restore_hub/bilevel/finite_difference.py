"""The one-step response of TBGL by a central difference, without second derivatives."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from restore_hub.bilevel.gradients import evaluate
from restore_hub.bilevel.reduction import reduction_of
from restore_hub.bilevel.vectors import Tensors, norm
from restore_hub.contracts import LevelPair
from restore_hub.errors import OptionError


class FiniteDifference(NamedTuple):
    """The response at the coupling tensors (float32 at least), and its norm."""

    x: Tensors
    norm: float


def finite_difference(
    pair: LevelPair, x: Tensors, omega: Tensors, direction: Tensors, batch: Any, radius: float = 0.01
) -> FiniteDifference:
    r"""Return the response of one lower step with d omega'/dx = -P d g_l(x, omega)/dx, P held fixed.

    .. math::
        R = -\frac{\partial^2 F_{lower}}{\partial x \, \partial \omega}(x, \omega) \, d
          \approx -\frac{T(x, \omega + \epsilon d) - T(x, \omega - \epsilon d)}{2 \epsilon},
        \qquad T = \frac{\partial F_{lower}}{\partial x}, \quad d = P \, v, \quad
        v = \frac{\partial F_{upper}}{\partial \omega'}, \quad \epsilon = \frac{radius}{|d|}

    The paper's equation moves omega along dF_lower/domega and leaves eps open. What is needed is the mixed derivative
    times d, so the difference runs along d, around the point *before* the step, where g_l is taken.

    Sign: R is added to dF_upper/dx. Symmetry: P is diagonal, hence P^T = P; R is linear in d. Damping: none; d = 0
    gives R = 0. Truncation error: |d| radius^2 / 6 times the third derivative of T along d / |d|. Precision: at least
    float32, inside autocast too, because the difference cancels the leading digits; so put autocast around a solver's
    step, not into the energies. Both ends of the difference draw the same random numbers.

    Args:
        pair: supplies F_lower.
        x: coupling tensors of the lower batch; their graph is ignored.
        omega: the lower variables BEFORE the step.
        direction: d = P v with v taken at the stepped omega', shaped like omega; see `preconditioner`.
        batch: the batch of that lower step.
        radius: |eps d|, the distance of each end from the centre in omega, > 0.

    Raises:
        BilevelError: F_lower doesn't depend on x, or isn't finite near omega.
        OptionError: the radius isn't positive.

    Reference:
        Bilevel Generative Learning (ACM MM 2023), Eq. 5, corrected; the radius as in DARTS (ICLR 2019), Eq. 8.
    """
    if not radius > 0:
        raise OptionError("bilevel.not-positive", "radius", got=radius)
    x, omega, direction = (_widen(group) for group in (x, omega, direction))
    length = norm(direction)
    # eps = radius / |d|; one end at a time, to hold only one more copy of omega
    eps = radius / length if length else 0.0
    device = x[0].device

    def ends(sign: int) -> Tensors:
        pairs = zip(omega, direction, strict=True)
        point = tuple(torch.add(w, d, alpha=sign * eps) for w, d in pairs)
        return evaluate(pair, "lower", x, point, batch, wrt=("x",)).x

    with torch.autocast(device.type, enabled=False):
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            plus = ends(+1)
        minus = ends(-1)
    # R = -|d| (T+ - T-) / (2 radius)
    response = tuple(-(length / (2 * radius)) * (p - m) for p, m in zip(plus, minus, strict=True))
    return FiniteDifference(response, reduction_of(pair).norm(response))


def _widen(tensors: Tensors) -> Tensors:
    """Return detached copies or views, in at least float32."""
    return tuple(t.detach().to(torch.promote_types(t.dtype, torch.float32)) for t in tensors)


def along(preconditioner: Tensors, v: Tensors) -> Tensors:
    """Return d = P v for a diagonal P, tensor by tensor."""
    return tuple(p * g for p, g in zip(preconditioner, v, strict=True))
