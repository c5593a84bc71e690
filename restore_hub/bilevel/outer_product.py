"""The outer-product response of LwCL and IBGL, with its guards."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from restore_hub.bilevel.gradients import Gradients
from restore_hub.bilevel.vectors import Tensors, cosine, norm, scaled
from restore_hub.errors import BilevelError


class OuterProduct(NamedTuple):
    """The response at the coupling tensors, and figures to log.

    Attributes:
        x: the response R, shaped like `t_l`.
        s: the ratio; 0 if g_l = 0.
        g_lower: |g_l|; exactly 0 means that there was no response to compute.
        cosine: cosine of the angle between g_l and g_u; 0 if either is zero.
        raw_norm: |s| |t_l|, the norm before the cap.
        norm: |R|.
        capped: 1 if the norm was cut to the limit, else 0.
    """

    x: Tensors
    s: float
    g_lower: float
    cosine: float
    raw_norm: float
    norm: float
    capped: float


def outer_product(
    g_l: Sequence[Tensor],
    g_u: Sequence[Tensor],
    t_l: Tensors,
    limit: float = math.inf,
    length: Callable[[Tensors], float] = norm,
) -> OuterProduct:
    r"""Return the response of the lower level by the outer-product approximation.

    .. math::
        R = -s \, \partial F_{lower} / \partial x, \qquad s = \langle g_l, g_u \rangle / \langle g_l, g_l \rangle

    Sign: R is added to dF_upper/dx. Symmetry: s scales with F_upper and with 1/F_lower, so R doesn't change when
    F_lower is multiplied by a constant, and changes sign with F_upper. Damping: none, because an additive term would
    bias R as the lower level converges. g_l is normalised first, g_l = 0 gives R = 0, and `limit` bounds |R|.

    One scalar scales all of dF_lower/dx. R is exact (the least-norm implicit gradient) if F_lower is a function of one
    affine combination of x and omega, or if components of omega that enter F_lower alike also start alike. In general
    it is not exact, and |R| grows like 1/|g_l| as the lower level converges; hence the limit.

    Args:
        g_l: dF_lower/domega at the response point (after the last lower step).
        g_u: dF_upper/domega at the same point, shaped like `g_l`.
        t_l: dF_lower/dx at the same point, shaped like the coupling tensors.
        limit: largest |R|.
        length: the norm of tensors shaped like `t_l`.

    Reference:
        Learning with Constraint Learning (TPAMI 2024), Eq. 8; Bilevel Generative Learning (ACM MM 2023), Eq. 9.
    """
    length_l, length_u, length_t = norm(g_l), norm(g_u), length(t_l)
    angle = cosine(g_l, g_u, (length_l, length_u))
    # s = <g_l, g_u> / <g_l, g_l>
    s = angle * (length_u / length_l) if length_l else 0.0
    raw = abs(angle) * _scaled_product(length_u, length_t, length_l) if angle else 0.0
    bound = min(raw, limit)
    # R = -s t_l = -sign(s) |R| t_l / |t_l|, |R| = |s| |t_l|
    response = scaled(t_l, -math.copysign(bound, s), length_t)
    return OuterProduct(response, s, length_l, angle, raw, bound, float(bound < raw))


def _scaled_product(a: float, b: float, length: float) -> float:
    """Return a b / length, ordered so that it overflows or underflows only if the result itself does."""
    small, large = sorted((a, b))
    return small / length * large if length < 1 else large / length * small


def check_zero_sum(
    lower: Gradients, upper: Gradients, response: OuterProduct, length: Callable[[Tensors], float] = norm
) -> None:
    """Raise BilevelError if the two energies, on one batch, are equal up to a factor.

    With F_upper = c F_lower, s = c and dF_upper/dx - s dF_lower/dx is exactly zero: theta would never move. The test is
    g_u = s g_l and dF_upper/dx = s dF_lower/dx, and either s = +-1 or F_upper = s F_lower; the gradients alone also
    agree at an optimum with a single lower variable. `length` is the norm of tensors shaped like x.
    """
    s = response.s
    tolerance = max(torch.finfo(t.dtype).eps for t in (*lower.omega, *lower.x)) ** 0.5
    device = upper.value.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        tolerance = max(tolerance, torch.finfo(torch.get_autocast_dtype(device)).eps)
    if 1 - abs(response.cosine) > tolerance:  # the usual case, and a cheap test
        return
    gap = length(tuple(u - s * t for u, t in zip(upper.x, lower.x, strict=True)))
    length_x = length(upper.x)
    same_ratio = abs(abs(s) - 1) <= tolerance
    same_value = abs(float(upper.value) - s * float(lower.value)) <= tolerance * abs(float(upper.value))
    if length_x > 0 and gap <= tolerance * length_x and (same_ratio or same_value):
        raise BilevelError("bilevel.zero-sum", factor=s)
