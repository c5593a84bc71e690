"""A chain of torch blocks as what is measured."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from restore_hub.batch import Value, stacked
from restore_hub.contracts import Port
from restore_hub.evaluate.predictor import Arrays
from restore_hub.plan.chain import Chain
from restore_hub.spec import DATA


class ChainPredictor:
    """Runs the blocks that are needed, in evaluation mode, where the chain is (`predictor.Predictor`)."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        read = (tensor for block in chain.graph.order for tensor in chain.inputs_of(block).values())
        self.reads = tuple(dict.fromkeys(tensor for tensor in read if tensor.startswith(DATA)))

    @property
    def ports(self) -> Mapping[str, Port]:
        """The ports of the chain's tensors."""
        return self._chain.ports

    def __call__(self, sample: Arrays, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
        """Return tensors of a sample."""
        needs = self._chain.graph.needs(wanted)
        wires = {name: self._batch(name, sample[name]) for name in needs.data if name in sample}
        with evaluation_mode(self._chain.blocks), torch.inference_mode():
            wires = self._chain.run(needs.blocks, wires)
        return {name: _sample(wires[name]) for name in wanted}

    def _batch(self, name: str, array: NDArray[Any]) -> Value:
        device = next((p.device for p in self._chain.parameters()), torch.device("cpu"))
        return stacked([torch.from_numpy(array).to(device)], self.ports[name])


def _sample(value: Value) -> NDArray[Any]:
    """Return the only sample of a batch."""
    tensor = value[0]
    return np.asarray((tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy())


@contextlib.contextmanager
def evaluation_mode(blocks: nn.ModuleDict) -> Iterator[None]:
    """Put all blocks into evaluation mode, then back into their own."""
    modes = {name: block.training for name, block in blocks.items()}
    blocks.eval()
    try:
        yield
    finally:
        for name, mode in modes.items():
            blocks[name].train(mode)
