"""Inner products and norms of tuples of tensors, accumulated in float64 whatever the tensors hold.

All results are 0-dim float64 tensors on the tensors' device; nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Tensors: TypeAlias = tuple[Tensor, ...]


def inner(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Return <a, b>, summed over all tensors of two tuples of equal shapes."""
    products = [torch.dot(p.reshape(-1).double(), q.reshape(-1).double()) for p, q in zip(a, b, strict=True)]
    return torch.stack(products).sum()


def norm(a: Sequence[Tensor]) -> Tensor:
    """Return |a|, which is exactly zero only where every element is.

    Elements are divided by a power of two near the largest one, which rounds nothing, so that squares of 1e-200
    or 1e200 neither vanish nor overflow.
    """
    peak = torch.stack([torch.linalg.vector_norm(t, torch.inf).double() for t in a]).max()
    scale = torch.ldexp(torch.ones_like(peak), torch.frexp(peak).exponent - 1)
    norms = [torch.linalg.vector_norm(t / scale, dtype=torch.float64) for t in a]
    length: Tensor = scale * torch.linalg.vector_norm(torch.stack(norms))
    return length


def cosine(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Return <a, b> / (|a| |b|), zero where either is zero."""
    return inner(unit(a, norm(a)), unit(b, norm(b)))


def unit(a: Sequence[Tensor], length: Tensor) -> Tensors:
    """Return a / length in the tensors' own types; `length` is |a|, and a zero `a` stays zero."""
    safe = torch.where(length == 0, torch.ones_like(length), length)
    return tuple(t / safe for t in a)
