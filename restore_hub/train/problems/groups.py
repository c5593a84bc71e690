"""A batch cut into groups of samples, and the gradients of the groups put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from restore_hub.batch import Batch
from restore_hub.bilevel import Grouping, Rows, Share
from restore_hub.errors import BilevelError

Sizes = list[list[int]]  # for each part of a batch, the number of samples in each of its groups


class BatchNorm(NamedTuple):
    """A block that takes its statistics from the batch, and the type of the layer that does."""

    block: str
    layer: str


def sizes_of(batch: Batch, groups: Grouping, ranks: int = 1) -> Sizes:
    """Return the sizes of the groups in each part of a batch, as even as they can be.

    Args:
        batch: this process's share of it.
        groups: their number in all, or one for each sample.
        ranks: processes that share the batch and its groups.

    Raises:
        BilevelError: more groups than samples, or a number that doesn't divide evenly among parts or processes.
    """
    return divide([len(part) for part in batch.parts], groups, ranks)


def divide(samples: Sequence[int], groups: Grouping, ranks: int = 1) -> Sizes:
    """Return what `sizes_of` does, and raise what it raises, from the number of samples in each part."""
    if groups == "sample":
        return [[1] * count for count in samples]
    each, rest = divmod(groups, len(samples) * ranks)
    if ranks > 1 and (rest or any(count % each for count in samples)):
        raise BilevelError("train.groups-uneven-processes", groups=groups, processes=ranks)
    if rest:
        raise BilevelError("train.groups-uneven-parts", groups=groups, parts=len(samples))
    if each > min(samples):
        raise BilevelError("train.groups-above-samples", groups=groups, samples=sum(samples) * ranks)
    return [[count // each + (index < count % each) for index in range(each)] for count in samples]


def leaves(tensor: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Return the slice of a coupling tensor that each group reads, as a leaf."""
    return [piece.detach().requires_grad_() for piece in torch.split(tensor, list(sizes))]


def gathered(rows: Sequence[Rows], sizes: Sizes, width: int) -> Rows:
    """Join rows of one group each.

    Args:
        rows: each x holds `width` slices of coupling tensors, then what all groups share.
        sizes: of the groups, by part; slice k of part p belongs to coupling tensor p * width + k.
        width: number of coupling tensors in a part.
    """
    x: list[Share] = []
    first = 0
    for part in sizes:
        own = rows[first : first + len(part)]
        counts = torch.tensor(part, device=rows[0].value.device)
        owner = torch.repeat_interleave(torch.arange(len(part), device=counts.device), counts) + first
        x += [Share(torch.cat([row.x[k].value[0] for row in own]), owner) for k in range(width)]
        first += len(part)
    shared = range(width, len(rows[0].x))
    x += [Share(torch.cat([row.x[k].value for row in rows])) for k in shared]
    omega = tuple(torch.cat(tensors) for tensors in zip(*(row.omega for row in rows), strict=True))
    return Rows(torch.stack([row.value for row in rows]).sum(), omega, tuple(x))


def find_batch_norm(blocks: Mapping[str, nn.Module]) -> BatchNorm | None:
    """Return the first block that takes its statistics from the whole batch."""
    found = (BatchNorm(name, layer) for name, block in blocks.items() if (layer := normalises_by_batch(block)))
    return next(found, None)


def normalises_by_batch(block: nn.Module) -> str | None:
    """Return the type of a block's first layer that takes its statistics from the batch, if there is one."""
    layers = (m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    # Without running statistics a layer takes the batch's even in evaluation mode.
    return next((type(m).__name__ for m in layers if m.training or m.running_mean is None), None)
