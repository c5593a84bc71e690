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
    """The response at the coupling tensors, and numbers to log.

    Attributes:
        x: the response, shaped like `t_l`.
        s: the ratio; zero where g_l is exactly zero.
        g_lower: |g_l|; exactly zero says that there was no response to compute.
        cosine: cosine of the angle between g_l and g_u, zero where either is zero.
        raw_norm: |s| |t_l|, the norm before the cap.
        norm: the norm of `x`.
        capped: one where the norm was cut to the limit, else zero.
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

    Sign: R is added to dF_upper/dx. Symmetry: s scales with F_upper and with 1/F_lower, so R does not change when
    F_lower is multiplied by a constant, and changes sign with F_upper. Damping: none, because an additive term
    biases R as soon as the lower level converges; g_l is normalised first, an exact zero of g_l gives R = 0, and
    the only bound is `limit` on |R|.

    One scalar scales the whole of dF_lower/dx. R is exact (the least-norm implicit gradient) where F_lower is a
    function of one affine combination of x and omega, and where components of omega that enter alike also start
    alike. In general it is not, and |R| grows like 1/|g_l| as the lower level converges; hence the limit.

    Args:
        g_l: g_l = dF_lower/domega at the response point (after the last lower step).
        g_u: g_u = dF_upper/domega at the same point, shaped like `g_l`.
        t_l: dF_lower/dx at the same point; its shapes are those of the coupling tensors.
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
    """Return a b / length, ordered so that it overflows or vanishes only where it lies outside of the numbers."""
    small, large = sorted((a, b))
    return small / length * large if length < 1 else large / length * small


def check_zero_sum(
    lower: Gradients, upper: Gradients, response: OuterProduct, length: Callable[[Tensors], float] = norm
) -> None:
    """Raise BilevelError where the two energies, on one batch, are the same up to a factor.

    With F_upper = c F_lower the ratio is s = c and dF_upper/dx - s dF_lower/dx is exactly zero: the upper level
    would never move. Recognised by g_u = s g_l and dF_upper/dx = s dF_lower/dx together with s = +1 or -1 or
    F_upper = s F_lower; the gradients alone also agree at an optimum with a single lower variable.
    `length` is the norm of tensors shaped like x.
    """
    s = response.s
    tolerance = max(torch.finfo(t.dtype).eps for t in (*lower.omega, *lower.x)) ** 0.5
    device = upper.value.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        tolerance = max(tolerance, torch.finfo(torch.get_autocast_dtype(device)).eps)  # of the passes in between
    if 1 - abs(response.cosine) > tolerance:  # as nearly always, and cheap to see
        return
    gap = length(tuple(u - s * t for u, t in zip(upper.x, lower.x, strict=True)))
    length_x = length(upper.x)
    same_ratio = abs(abs(s) - 1) <= tolerance
    same_value = abs(float(upper.value) - s * float(lower.value)) <= tolerance * abs(float(upper.value))
    if length_x > 0 and gap <= tolerance * length_x and (same_ratio or same_value):
        kind = "a zero-sum pair" if s < 0 else "one energy for both levels"
        raise BilevelError(
            f"F_upper is {s:.4g} times F_lower on the same batch ({kind}): the outer-product response cancels "
            "the direct gradient and the upper level cannot move (on separate batches, no further than their noise); "
            "take another upper energy (for a GAN the non-saturating generator loss), or the solver `alternating`"
        )
