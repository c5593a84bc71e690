"""A chain's blocks on one objective, and how a batch in parts runs through them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from restore_hub.batch import Batch, Value
from restore_hub.bilevel import ALONE, Reduction
from restore_hub.plan.chain import Chain, Wires
from restore_hub.plan.objectives import Objectives, Sums, combine
from restore_hub.spec import DATA, Level, weights_of
from restore_hub.train.problems.trainable import parameters_of


class ChainLevel:
    """The one level of a stage that has no other, such as `joint` (`restore_hub.contracts.SingleLevel`)."""

    def __init__(self, chain: Chain, objectives: Objectives, level: Level, reduction: Reduction = ALONE) -> None:
        self._chain = chain
        self.reduction = reduction
        self._objectives = objectives
        self._weights = weights_of(level.objective)
        self._data = {name: chain.graph.needs(objectives.tensors([name])).data for name in self._weights}
        self._again = level.accumulate > 1  # parts are computed again, to save memory
        self.names, self.variables = parameters_of(chain.blocks, level.blocks)

    def energy(self, batch: Batch) -> Tensor:
        """Return the objective on a batch, each loss over the parts that have the data for it."""

        def sums(part: Mapping[str, Value]) -> Sums:
            wires = data_wires(part)
            names = [name for name, data in self._data.items() if data <= wires.keys()]
            needed = self._chain.graph.needs(self._objectives.tensors(names)).blocks
            return self._objectives.sums(names, self._chain.run(needed, wires))

        parts = [(part.tensors,) for part in batch.parts]
        found = one_by_one(sums, parts) if self._again else [sums(*part) for part in parts]
        return combine(self._weights, found, self.reduction)


def one_by_one(function: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Call a function on each part of a batch, holding the memory of one part at a time.

    Each of several parts is computed again, with the same random numbers, when its gradient is taken: a ratio of sums
    over all parts is known only once all of them have run.

    Args:
        function: of the arguments for a part.
        parts: the arguments for each part. Tensors stand in plain containers, where PyTorch looks for their device to
            restore its random state.
    """
    if len(parts) == 1:
        return [function(*parts[0])]
    # Early stop would end the second run by an exception, which a plugin may catch.
    return [checkpoint(function, *part, use_reentrant=False, early_stop=False) for part in parts]


def data_wires(tensors: Mapping[str, Value]) -> Wires:
    """Return the values of a batch under the names that the chain reads."""
    return {DATA + name: tensor for name, tensor in tensors.items()}
