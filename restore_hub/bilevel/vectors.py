"""Inner products and norms of tuples of tensors, as plain numbers accumulated in float64.

Plain numbers, because what methods do with them (ratios, bounds, a median) takes nanoseconds, and microseconds with
0-dim tensors. Each call waits for the tensors' device once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Tensors: TypeAlias = tuple[Tensor, ...]


CHUNK = 1 << 16  # elements to widen at a time, to avoid a copy of a long vector
SAFE = (1e-140, 1e140)  # norms whose products float64 holds, also those of the elements that matter
NARROW = (1e-30, 1e30)  # factors that float32 holds, with room for what they multiply


def inner(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """Return <a, b>, summed over all tensors of two tuples of the same shapes."""
    return sum(_numbers([_dot(p.reshape(-1), q.reshape(-1)) for p, q in zip(a, b, strict=True)]))


def norm(a: Sequence[Tensor]) -> float:
    """Return |a|, which is exactly zero only if every element is.

    Squares of 1e-200 or 1e200 neither underflow nor overflow: narrower types are squared in float64, and float64
    elements of extreme size are first divided by a power of two near the largest, which rounds nothing.
    """
    length = math.hypot(*_lengths(a))
    if math.isnan(length) or _within(length, SAFE) or all(t.dtype != torch.float64 for t in a):
        return length
    peak = max(_numbers([torch.stack(t.aminmax()).abs().max() for t in a if t.numel()]), default=0.0)
    if peak == 0 or not math.isfinite(peak):
        return peak
    scale = math.ldexp(1.0, math.frexp(peak)[1] - 1)
    return scale * math.hypot(*_lengths([t / scale for t in a]))


def cosine(a: Sequence[Tensor], b: Sequence[Tensor], lengths: tuple[float, float] | None = None) -> float:
    """Return <a, b> / (|a| |b|), zero if either is zero; `lengths` are |a| and |b|, if known."""
    long_a, long_b = lengths or (norm(a), norm(b))
    if long_a == 0 or long_b == 0:
        return 0.0
    if _within(long_a, SAFE) and _within(long_b, SAFE):
        return inner(a, b) / (long_a * long_b)
    return inner(scaled(a, 1.0, long_a), scaled(b, 1.0, long_b))


def scaled(a: Sequence[Tensor], factor: float, length: float) -> Tensors:
    """Return factor * a / length in the tensors' own types; `length` is |a|, and a zero `a` stays zero."""
    if length == 0:
        return tuple(a)
    ratio = factor / length
    if _within(abs(ratio), NARROW) or ratio == factor == 0:
        return tuple(t * ratio for t in a)
    return tuple(t / length * factor for t in a)


def _lengths(a: Sequence[Tensor]) -> list[float]:
    return _numbers([torch.linalg.vector_norm(t, dtype=torch.float64) for t in a])


def _dot(p: Tensor, q: Tensor) -> Tensor:
    if len(p) <= CHUNK or p.device.type != "cpu" or p.dtype == q.dtype == torch.float64:
        return torch.dot(p.double(), q.double())
    parts = zip(torch.split(p, CHUNK), torch.split(q, CHUNK), strict=True)
    return torch.stack([torch.dot(u.double(), v.double()) for u, v in parts]).sum()


def _numbers(values: Sequence[Tensor]) -> list[float]:
    """Return the values of 0-dim tensors, waiting for their device once."""
    if len(values) > 1 and values[0].device.type != "cpu":
        return torch.stack(list(values)).tolist()
    return [v.item() for v in values]


def _within(value: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] < value < bounds[1]
