"""A batch cut into groups of samples, and the gradients of the groups put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from restore_hub.bilevel import Grouping, Rows, Share
from restore_hub.errors import BilevelError

Sizes = list[list[int]]  # for each part of a batch, how many samples each of its groups has


def sizes_of(batch: Sequence[Mapping[str, Tensor]], groups: Grouping, ranks: int = 1) -> Sizes:
    """Return the sizes of the groups of each part of a batch, as even as they can be.

    Args:
        batch: the parts, of this process.
        groups: how many in all, or one for each sample.
        ranks: processes that share the batch and its groups.

    Raises:
        BilevelError: more groups than samples, or a number that the parts, or the processes, do not share evenly.
    """
    return divide([len(next(iter(part.values()))) for part in batch], groups, ranks)


def divide(samples: Sequence[int], groups: Grouping, ranks: int = 1) -> Sizes:
    """Return what `sizes_of` does, and raise what it raises, from how many samples each part has."""
    if groups == "sample":
        return [[1] * count for count in samples]
    each, rest = divmod(groups, len(samples) * ranks)
    if ranks > 1 and (rest or any(count % each for count in samples)):
        raise BilevelError(
            f"groups: {groups} do not divide evenly among {ranks} processes; give a number of groups of one size that "
            "does"
        )
    if rest:
        raise BilevelError(f"groups: {groups} do not divide evenly among the {len(samples)} parts of a lower batch")
    if each > min(samples):
        raise BilevelError(
            f"groups: {groups} of a lower batch of {sum(samples) * ranks} samples; give one for each sample at most, "
            "or a larger `batch_size`"
        )
    return [[count // each + (index < count % each) for index in range(each)] for count in samples]


def cut(part: Mapping[str, Tensor], sizes: Sequence[int]) -> list[dict[str, Tensor]]:
    """Return the samples of each group."""
    pieces = zip(*(torch.split(tensor, list(sizes)) for tensor in part.values()), strict=True)
    return [dict(zip(part, piece, strict=True)) for piece in pieces]


def leaves(tensor: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Return the slices of a coupling tensor that the groups read, as leaves."""
    return [piece.detach().requires_grad_() for piece in torch.split(tensor, list(sizes))]


def gathered(rows: Sequence[Rows], sizes: Sizes, width: int) -> Rows:
    """Put rows of one group each together.

    Args:
        rows: their x holds `width` slices of coupling tensors, then what all groups share.
        sizes: of the groups, by part; a slice of part p belongs to coupling tensor p * width + k.
        width: coupling tensors of a part.
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


def check_statistics(blocks: Mapping[str, nn.Module], what: str) -> None:
    """Refuse, saying what fails, a block that takes its statistics from the whole batch."""
    for name, block in blocks.items():
        kind = normalises_by_batch(block)
        if kind is not None:
            raise BilevelError(f"the block {name!r} normalises by the statistics of the batch ({kind}), {what}")


def normalises_by_batch(block: nn.Module) -> str | None:
    """Return the type of the first layer of a block that takes its statistics from the batch, if there is one."""
    layers = (m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    # One that keeps no running statistics takes the batch's in evaluation mode, too.
    return next((type(m).__name__ for m in layers if m.training or m.running_mean is None), None)
