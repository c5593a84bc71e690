"""Inner products and norms of tuples of tensors, accumulated in float64 whatever the tensors hold.

All results are 0-dim float64 tensors on the tensors' device; nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Tensors: TypeAlias = tuple[Tensor, ...]


CHUNK = 1 << 16  # elements that are widened at a time, so that no copy of a long vector is made
SAFE = (1e-140, 1e140)  # norms whose products, and those of the elements that matter, float64 holds


def inner(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Return <a, b>, summed over all tensors of two tuples of equal shapes."""
    products = [_dot(p.reshape(-1), q.reshape(-1)) for p, q in zip(a, b, strict=True)]
    return products[0] if len(products) == 1 else torch.stack(products).sum()


def _dot(p: Tensor, q: Tensor) -> Tensor:
    if len(p) <= CHUNK or p.device.type != "cpu" or p.dtype == q.dtype == torch.float64:
        return torch.dot(p.double(), q.double())
    parts = zip(torch.split(p, CHUNK), torch.split(q, CHUNK), strict=True)
    return torch.stack([torch.dot(u.double(), v.double()) for u, v in parts]).sum()


def norm(a: Sequence[Tensor]) -> Tensor:
    """Return |a|, which is exactly zero only where every element is.

    Squares of 1e-200 or 1e200 neither vanish nor overflow: narrower types are squared in float64, and where the
    elements of float64 are not seen to be harmless, they are divided by a power of two near the largest one, which
    rounds nothing.
    """
    lengths = [torch.linalg.vector_norm(t, dtype=torch.float64) for t in a]
    length: Tensor = lengths[0] if len(lengths) == 1 else torch.linalg.vector_norm(torch.stack(lengths))
    wide = any(t.dtype == torch.float64 for t in a)
    if not wide or (length.device.type == "cpu" and SAFE[0] < float(length) < SAFE[1]):
        return length
    peak = torch.stack([torch.stack(t.aminmax()).abs().max().double() for t in a]).max()
    scale = torch.ldexp(torch.ones_like(peak), torch.frexp(peak).exponent - 1)
    lengths = [torch.linalg.vector_norm(t / scale, dtype=torch.float64) for t in a]
    length = scale * torch.linalg.vector_norm(torch.stack(lengths))
    return length


def cosine(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Return <a, b> / (|a| |b|), zero where either is zero."""
    lengths = norm(a), norm(b)
    wide = any(t.dtype == torch.float64 for t in (*a, *b))
    if wide and not (lengths[0].device.type == "cpu" and all(SAFE[0] < float(n) < SAFE[1] for n in lengths)):
        return inner(unit(a, lengths[0]), unit(b, lengths[1]))
    both = lengths[0] * lengths[1]
    return inner(a, b) / torch.where(both == 0, torch.ones_like(both), both)


def unit(a: Sequence[Tensor], length: Tensor) -> Tensors:
    """Return a / length in the tensors' own types; `length` is |a|, and a zero `a` stays zero."""
    safe = torch.where(length == 0, torch.ones_like(length), length)
    return tuple(t / safe for t in a)
