"""Weighted losses over named tensors: the energies of a spec."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import reduce
from operator import add
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from restore_hub.bilevel.reduction import ALONE, Reduction, summed
from restore_hub.errors import RestoreHubError, TrainingError, lacks_memory, reason_of
from restore_hub.plan.chain import Wires
from restore_hub.plan.weights import fingerprint
from restore_hub.ragged import Ragged

V = TypeVar("V", Tensor, Ragged)
LossCall = Callable[..., tuple[Tensor, Tensor | int]]
Sums = Mapping[str, tuple[Tensor, Tensor | int]]  # (sum, count) of each loss that a part of a batch has the data for


class Objectives:
    """The losses of a spec, wired to named tensors. Weights that a loss has, such as a network's, are frozen.

    Attributes:
        fingerprint: a hash of the losses' weights as they were made; empty without weights.
    """

    def __init__(self, losses: Mapping[str, LossCall], inputs: Mapping[str, Mapping[str, str]]) -> None:
        self._losses = losses
        self._inputs = inputs
        for module in self._modules():
            module.requires_grad_(False).eval()
        self.fingerprint = fingerprint(self.state_dict())

    def _modules(self) -> list[nn.Module]:
        return [loss for loss in self._losses.values() if isinstance(loss, nn.Module)]

    def to(self, place: torch.device | torch.dtype) -> Objectives:
        """Move the losses' weights to a device or make them another type, in place; return self."""
        for module in self._modules():
            module.to(place)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """Return the losses' weights and buffers, as `objectives.name.key`."""
        return {
            f"objectives.{name}.{key}": value
            for name, loss in self._losses.items()
            for key, value in (loss.state_dict() if isinstance(loss, nn.Module) else {}).items()
            if isinstance(value, Tensor)  # a module may add other things
        }

    def tensors(self, names: Iterable[str]) -> set[str]:
        """Return the names of the tensors that the named losses read."""
        return {tensor for name in names for tensor in self._inputs[name].values()}

    def value(self, weights: Mapping[str, float], wires: Wires) -> Tensor:
        """Return sum_i weight_i * sum_i / count_i, a scalar."""
        return combine(weights, [self.sums(weights, wires)])

    def sums(self, names: Iterable[str], wires: Wires) -> Sums:
        """Return what each of the named losses returns: the sum over its terms, and their number.

        Losses are computed in float32 at least, also inside autocast: they subtract near values and sum many.
        """
        found = {}
        for name in names:
            tensors = {port: widen(wires[tensor]) for port, tensor in self._inputs[name].items()}
            device = next(iter(tensors.values())).device.type
            with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
                found[name] = self._call(name, tensors)
        return found

    def _call(self, name: str, tensors: Mapping[str, Any]) -> tuple[Tensor, Tensor | int]:
        try:
            result = self._losses[name](**tensors)
        except Exception as error:
            if isinstance(error, RestoreHubError) or lacks_memory(error):
                raise
            raise TrainingError("spec.loss-fails", f"objectives.{name}", cause=reason_of(error)) from error
        scalar = isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Tensor) and not result[0].ndim
        if not scalar:
            raise TrainingError("spec.loss-result", f"objectives.{name}", got=_describe(result))
        return result


def combine(weights: Mapping[str, float], parts: Sequence[Sums], reduction: Reduction = ALONE) -> Tensor:
    r"""Return the energy of a batch from the sums of its parts.

    .. math:: E = \sum_i w_i \frac{\sum_m S_{im}}{\sum_m C_{im}}

    with S and C the sum and the count of loss i on part m, of those that have the data for it. The ratio is taken last,
    so a loss whose denominator depends on the data has the same value as on the whole batch, the parts of other
    processes included. A loss without terms, such as one of boxes where no picture has any, is 0.

    Args:
        weights: of the losses; each has a sum on one part or more.
        parts: one for each part of the batch, one or more.
        reduction: over the processes that share the batch.
    """
    each = [[part[name] for part in parts if name in part] for name in weights]
    pairs = [(_sum(value for value, _ in found), _sum(count for _, count in found)) for found in each]
    if reduction.size > 1:
        flat = summed(reduction, [_tensor(value, pair[0]) for pair in pairs for value in pair])
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
    terms = [weight * value / _divisor(count) for weight, (value, count) in zip(weights.values(), pairs, strict=True)]
    total: Tensor = _sum(terms)
    return total


def shares(weights: Mapping[str, float], parts: Sequence[Sums], reduction: Reduction = ALONE) -> list[Tensor]:
    r"""Return what each part adds to the energy of a batch; over all processes they sum to that of `combine`.

    Every part has the data for every loss.

    .. math:: E_m = \sum_i w_i \frac{S_{im}}{\sum_n C_{in}}
    """
    counts: Sequence[Any] = [_sum(part[name][1] for part in parts) for name in weights]
    if reduction.size > 1:
        like = next(iter(parts[0].values()))[0]
        counts = reduction.total([_tensor(count, like) for count in counts])
    divisors = [_divisor(count) for count in counts]
    terms = [
        [weight * part[name][0] / divisor for (name, weight), divisor in zip(weights.items(), divisors, strict=True)]
        for part in parts
    ]
    return [torch.stack(each).sum() for each in terms]


def _sum(values: Iterable[Any]) -> Any:
    return reduce(add, values)


def _divisor(count: Any) -> Any:
    """Return the number of terms, 1 where there are none."""
    return count + (count == 0)


def _tensor(value: Tensor | int, like: Tensor) -> Tensor:
    """Return a count as a tensor too, in float64, which holds every number of terms."""
    return value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64, device=like.device)


def widen(value: V) -> V:
    """Return a tensor, or a `Ragged`, in float32 where its type is narrower, as autocast makes it."""
    dtype = value.values.dtype if isinstance(value, Ragged) else value.dtype
    return value.to(torch.float32) if dtype in (torch.bfloat16, torch.float16) else value


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple):
        return "(" + ", ".join(_describe(part) for part in value) + ")"
    return type(value).__name__
