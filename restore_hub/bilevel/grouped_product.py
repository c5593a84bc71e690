"""The outer-product response group by group, in damped Woodbury form."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from restore_hub.bilevel.groups import Rows
from restore_hub.bilevel.outer_product import OuterProduct, outer_product
from restore_hub.bilevel.vectors import Tensors, norm, scaled

DAMPING = 0.1
COLUMNS = 4096


def grouped_product(
    rows: Rows,
    g_u: Sequence[Tensor],
    damping: float = DAMPING,
    limit: float = math.inf,
    length: Callable[[Tensors], float] = norm,
) -> OuterProduct:
    r"""Return the response of the lower level by one outer product per group of F_lower = sum_j F_j.

    .. math::
        R = -T^T (K + \lambda I)^{-1} G \, g_u, \qquad K = G G^T, \qquad
        G_j = \frac{g_j}{|g_j|}, \quad T_j = \frac{t_j}{|g_j|}, \qquad
        \lambda = damping \cdot \Big(\frac{|K|_F^2}{m} - 1\Big)

    with g_j = dF_j/domega and t_j = dF_j/dx. This is the implicit gradient with sum_j G_j G_j^T in place of the Hessian
    and sum_j G_j T_j^T in place of the mixed derivative, written with Woodbury's identity and the m x m matrix K of
    cosines between the groups.

    Sign: R is added to dF_upper/dx. Symmetry: K is symmetric; R is linear in g_u and doesn't change when any F_j is
    multiplied by a nonzero constant. Damping: relative, a factor on the groups' excess coherence |K|_F^2 / m - 1, which
    is zero for orthogonal gradients or a single group (R is then that of `outer_product`) and m - 1 for parallel ones.
    It never changes |g_j|. `damping` 0 takes the pseudo-inverse. A group with g_j = 0 contributes nothing; if all are
    zero, R = 0.

    R is exact if each F_j is a function of one affine combination of x and omega and the g_j are orthogonal (as in the
    toy problem of LwCL Eq. 9, from every start, one component per group). Otherwise its error is that of replacing the
    Hessian; docs/how-to/solvers.md has measurements. Each group has a factor of its own for its t_j, so groups of one
    sample can respond differently for each sample, unlike the plain outer product.

    Cost: on top of the rows (`groups.rows_by_vmap`: one pass over the batch), m^2 |omega| multiplications for K and
    m^3 / 3, in float64, to factor it. Memory: m |omega| numbers for the rows, and m^2 for K.

    Args:
        rows: gradients by group, at the response point.
        g_u: dF_upper/domega at the same point.
        damping: >= 0; docs/how-to/solvers.md shows its effect on angle, norm and training.
        limit: largest |R|.
        length: the norm of tensors shaped like x.

    Returns:
        as `outer_product`; `s`, `g_lower` and `cosine` belong to the sum over the groups.

    Reference:
        Learning with Constraint Learning (TPAMI 2024), Eq. 8, for one group; the groups and their damping are ours.
    """
    total = rows.total()
    plain = outer_product(total.omega, g_u, total.x, length=length)
    inverse = _inverse_lengths(rows.omega)
    K, b = _cosines(rows.omega, g_u, inverse)
    # a = (K + lambda I)^-1 G g_u
    rounding = len(K) * max(torch.finfo(g.dtype).eps for g in rows.omega)
    a = _solve(K, b, damping * _excess(K, inverse), rounding) if damping else _least_norm(K, b, rounding)
    # R = -T^T a, T_j = t_j / |g_j|
    response = tuple(-share.weighted(a * inverse) for share in rows.x)
    raw = length(response)
    if raw <= limit:
        return plain._replace(x=response, raw_norm=raw, norm=raw, capped=0.0)
    return plain._replace(x=scaled(response, limit, raw), raw_norm=raw, norm=limit, capped=1.0)


def _inverse_lengths(omega: Tensors) -> Tensor:
    """Return 1 / |g_j|, (m,) float64, zero for g_j = 0; squares neither underflow nor overflow."""
    chunks = _chunks(omega)
    scale = torch.ones(len(chunks[0]), dtype=torch.float64, device=chunks[0].device)
    if any(c.dtype == torch.float64 for c in chunks):  # float64 holds the squares of narrower types
        peak = torch.stack([c.abs().amax(1).double() for c in chunks]).amax(0)
        scale = torch.ldexp(scale, torch.frexp(peak).exponent - 1)
        chunks = [c / scale[:, None] for c in chunks]
    parts = torch.stack([torch.linalg.vector_norm(c, dim=1, dtype=torch.float64) for c in chunks])
    lengths = scale * torch.linalg.vector_norm(parts, dim=0)
    return torch.where(lengths > 0, 1 / torch.where(lengths > 0, lengths, 1.0), 0.0)


def _cosines(omega: Tensors, g_u: Sequence[Tensor], inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Return K, whose diagonal is 1 for zero rows too, and b = G g_u, in float64.

    Products over `COLUMNS` columns are in the tensors' own type and are summed in float64. That is enough: cosines lie
    between -1 and 1, and the damping is far above their rounding errors.
    """
    K = torch.diag((inverse == 0).double())
    b = torch.zeros_like(inverse)
    entries = [part for u in g_u for part in u.flatten().split_with_sizes(_sizes(u.numel()))]
    for columns, u in zip(_chunks(omega), entries, strict=True):
        G = columns * inverse.to(columns)[:, None]
        K += (G @ G.T).double()
        b += (G @ u).double()
    return K, b


def _chunks(omega: Tensors) -> list[Tensor]:
    """Return the rows of all tensors, cut into matrices of at most `COLUMNS` columns."""
    rows = [g.flatten(1) for g in omega]
    return [columns for g in rows for columns in g.split_with_sizes(_sizes(g.shape[1]), 1)]


def _sizes(count: int) -> list[int]:
    return [min(COLUMNS, count - first) for first in range(0, count, COLUMNS)]


def _excess(K: Tensor, inverse: Tensor) -> Tensor:
    """Return |K|_F^2 / m - 1 over the m nonzero groups: the squares off the diagonal."""
    m = (inverse > 0).sum().clamp(min=1)
    return (K - torch.diag(K.diagonal())).square().sum() / m


def _solve(K: Tensor, b: Tensor, damping: Tensor, rounding: float) -> Tensor:
    """Return (K + damping I)^-1 b; K is positive semi-definite up to rounding."""
    factors, _ = torch.linalg.cholesky_ex(K + (damping + rounding) * torch.eye(len(K), dtype=K.dtype, device=K.device))
    return torch.cholesky_solve(b[:, None], factors)[:, 0]


def _least_norm(K: Tensor, b: Tensor, rounding: float) -> Tensor:
    """Return the pseudo-inverse of K times b."""
    solution: Tensor = torch.linalg.pinv(K, rtol=rounding, hermitian=True) @ b
    return solution
