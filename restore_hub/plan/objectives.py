"""Weighted losses over named tensors: the energies of a spec."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from restore_hub.errors import RestoreHubError, TrainingError
from restore_hub.plan.chain import Wires

LossCall = Callable[..., tuple[Tensor, Tensor | int]]


class Objectives:
    """The losses of a spec, wired to named tensors."""

    def __init__(self, losses: Mapping[str, LossCall], inputs: Mapping[str, Mapping[str, str]]) -> None:
        self._losses = losses
        self._inputs = inputs

    def tensors(self, weights: Mapping[str, float]) -> set[str]:
        """Return the names of the tensors that a weighted objective reads."""
        return {tensor for name in weights for tensor in self._inputs[name].values()}

    def value(self, weights: Mapping[str, float], wires: Wires) -> Tensor:
        """Return sum_i weight_i * sum_i / count_i, a scalar."""
        total: Tensor | None = None
        for name, weight in weights.items():
            tensors = {port: wires[tensor] for port, tensor in self._inputs[name].items()}
            numerator, count = self._call(name, tensors)
            term = weight * numerator / count
            total = term if total is None else total + term
        assert total is not None
        return total

    def _call(self, name: str, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | int]:
        try:
            result = self._losses[name](**tensors)
        except RestoreHubError:
            raise
        except Exception as error:
            raise TrainingError(f"the loss of objective {name!r} raised {type(error).__name__}: {error}") from error
        if not (isinstance(result, tuple) and len(result) == 2 and result[0].ndim == 0):
            raise TrainingError(
                f"the loss of objective {name!r} must return (sum, count): a scalar tensor with the sum over all "
                f"terms, and their number; it returned {_describe(result)}"
            )
        return result


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple):
        return "(" + ", ".join(_describe(part) for part in value) + ")"
    return type(value).__name__
