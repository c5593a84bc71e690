"""A plugin's problem as what is measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from restore_hub.batch import stacked, wrong
from restore_hub.contracts import Port, Problem
from restore_hub.errors import TrainingError
from restore_hub.evaluate.chain import evaluation_mode
from restore_hub.evaluate.predictor import Arrays
from restore_hub.spec import DATA


class ProblemPredictor:
    """Runs a problem's `restore` (`restore_hub.evaluate.predictor.Predictor`).

    Args:
        problem: with `outputs` and `restore`.
        data: the ports of the samples.
    """

    def __init__(self, problem: Problem, data: Mapping[str, Port]) -> None:
        self._problem, self._data = problem, data
        self.ports = problem.outputs
        self.reads = tuple(DATA + name for name in data)

    def __call__(self, sample: Arrays, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
        """Return tensors that the problem makes of a sample.

        Raises:
            TrainingError: it doesn't make one, or not what its port says.
        """
        device = next((p.device for p in self._problem.blocks.parameters()), torch.device("cpu"))
        batch = {
            name: stacked([torch.from_numpy(sample[DATA + name]).to(device)], port) for name, port in self._data.items()
        }
        with evaluation_mode(self._problem.blocks), torch.no_grad():
            made: Any = self._problem.restore(batch)
        if not isinstance(made, Mapping):
            made = {}
        for name in wanted:
            found = wrong(made.get(name), self.ports[name])
            if found:
                place = f"problem.outputs.{name}"
                raise TrainingError("train.not-restored", place, got=found[0], declared=found[1])
        return {name: np.asarray(made[name][0].detach().cpu().numpy()) for name in wanted}
