"""Numbers that whoever evaluates gives to all samples, such as a noise level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.contracts import Dataset, Port
from restore_hub.errors import DataError, nearest
from restore_hub.spec import DATA


class WithNumbers:
    """A data set with the same numbers in each sample, in place of its own of these names.

    Args:
        dataset: the samples.
        numbers: by tensor.

    Raises:
        DataError: the data have something else of this name.
    """

    def __init__(self, dataset: Dataset, numbers: Mapping[str, float]) -> None:
        for name in numbers:
            port = dataset.ports.get(name)
            if port is not None and port.axes:
                raise DataError("evaluate.not-a-number", f"--input {name}", port=port.describe())
        self._dataset, self.numbers = dataset, dict(numbers)
        self.ports: Mapping[str, Port] = {**dataset.ports, **dict.fromkeys(numbers, Port.number(-math.inf, math.inf))}
        self.notes: Sequence[str] = getattr(dataset, "notes", ())

    def __len__(self) -> int:
        return len(self._dataset)

    def files(self, index: int) -> Sequence[Path]:
        """Return the files of a sample."""
        return self._dataset.files(index)

    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, NDArray[Any]]:
        """Return a sample with the numbers."""
        numbers = {name: np.array(value, np.float32) for name, value in self.numbers.items()}
        return {**self._dataset.sample(index, rng), **numbers}


def check_numbers(numbers: Mapping[str, float], taken: Mapping[str, Mapping[str, Port]]) -> None:
    """Compare numbers with what candidates take.

    Args:
        numbers: by tensor.
        taken: for each candidate, the ports of what it reads.

    Raises:
        DataError: none takes a number of this name, or the number is outside a candidate's range.
    """
    for name, value in numbers.items():
        users = {candidate: ports[DATA + name] for candidate, ports in taken.items() if DATA + name in ports}
        if not users or any(port.axes for port in users.values()):
            known = {t.removeprefix(DATA) for ports in taken.values() for t, port in ports.items() if not port.axes}
            facts = {"known": ", ".join(sorted(known)) or "none"}
            raise DataError("evaluate.no-number", f"--input {name}", mend=nearest(name, known), **facts)
        for candidate, port in users.items():
            if not port.admits(value):
                raise DataError("evaluate.bad-number", candidate, name=name, got=value, low=port.low, high=port.high)
