"""What can be measured: exported files, folders of results, and the data as they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from restore_hub.contracts import Port
from restore_hub.errors import DataError
from restore_hub.evaluate.choice import PREDICTION
from restore_hub.evaluate.data import Data
from restore_hub.evaluate.file import FilePredictor, taken_by
from restore_hub.evaluate.predictor import Arrays, Predictor
from restore_hub.evaluate.results import RESULT, Given, WithResults
from restore_hub.model.model import load
from restore_hub.plan.samples import Samples
from restore_hub.spec import DATA


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of several that are compared.

    Attributes:
        name: as it was given.
        output: the tensor that it is measured by.
        samples: the data, with its results where it is a folder of them.
        taken: the ports of what it reads, by its own names.
        makes: whether it makes pictures, rather than having them already.
    """

    name: str
    predictor: Predictor
    output: str
    samples: Samples
    taken: Mapping[str, Port] = field(default_factory=dict)
    makes: bool = True


class Connected:
    """A predictor on data whose tensors have other names (`predictor.Predictor`).

    Args:
        predictor: what to run.
        wires: the tensor of the data for each tensor that it reads.
    """

    def __init__(self, predictor: Predictor, wires: Mapping[str, str]) -> None:
        self._predictor, self._wires = predictor, dict(wires)
        self.ports = {name: port for name, port in predictor.ports.items() if not name.startswith(DATA)}
        self.reads = tuple(self._wires.values())

    def __call__(self, sample: Arrays, wanted: Collection[str]) -> Arrays:
        """Return some of the tensors that it makes of a sample."""
        return self._predictor({own: sample[tensor] for own, tensor in self._wires.items() if tensor in sample}, wanted)


class OtherSizeError(Exception):
    """The data and their references differ in size, so their difference means nothing."""


class Unrestored:
    """A tensor of the data in place of a result (`predictor.Predictor`), where it has its reference's size."""

    def __init__(self, tensor: str, port: Port, target: str) -> None:
        self.reads, self.ports, self._target = (tensor,), {PREDICTION: port}, target

    def __call__(self, sample: Arrays, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
        """Return the tensor.

        Raises:
            OtherSizeError: it isn't as large as the reference.
        """
        del wanted  # there's only one
        given = sample[self.reads[0]]
        if self._target and given.shape != sample[self._target].shape:
            raise OtherSizeError
        return {PREDICTION: given}


def of_file(name: str, device: str, data: Data) -> Candidate:
    """Return an exported file, or one of the zoo, as a candidate.

    Raises:
        ModelFileError: it can't be loaded. DataError: the data lack what it takes.
    """
    model = load(name, device=device)
    taken = taken_by(model)
    predictor = FilePredictor(model, PREDICTION, list(taken))
    return Candidate(name, Connected(predictor, connect(name, taken, data)), PREDICTION, data.samples, taken)


def of_results(name: str, data: Data) -> Candidate:
    """Return a folder of results as a candidate.

    Raises:
        DataError: as `WithResults`.
    """
    dataset = WithResults(data.samples.dataset, Path(name), data.target.removeprefix(DATA))
    samples = Samples(dataset, data.samples.name)
    samples.left_out = data.samples.left_out  # the same for all that are compared
    return Candidate(name, Given(), DATA + RESULT, samples, makes=False)


def unrestored(name: str, data: Data) -> Candidate | None:
    """Return the first picture of the data, as it is, as a candidate; `None` if no reference is of its kind."""
    ports = {DATA + tensor: port for tensor, port in data.samples.dataset.ports.items()}
    wanted = ports.get(data.target)
    for tensor, port in ports.items():
        if tensor != data.target and port.is_picture and (wanted is None or port.misfit(wanted) is None):
            return Candidate(name, Unrestored(tensor, port, data.target), PREDICTION, data.samples, makes=False)
    return None


def connect(name: str, taken: Mapping[str, Port], data: Data) -> dict[str, str]:
    """Return the tensor of the data for each that a candidate takes: the one of its name, or the first that fits.

    Numbers, such as a noise level, need the name; one with a default may be missing. The reference is never taken.

    Raises:
        DataError: the data have nothing that fits.
    """
    ports = {DATA + tensor: port for tensor, port in data.samples.dataset.ports.items()}
    wires: dict[str, str] = {}
    for own, port in taken.items():
        fitting = [t for t in ports if t not in (data.target, *wires.values()) and ports[t].misfit(port) is None]
        if own in fitting:
            wires[own] = own
        elif fitting and port.axes:
            wires[own] = fitting[0]
        elif port.default is None:
            has = ", ".join(f"{t.removeprefix(DATA)} ({p.describe()})" for t, p in ports.items() if t != data.target)
            facts = {
                "tensor": own.removeprefix(DATA),
                "port": port.describe(),
                "data": data.about,
                "has": has or "none",
            }
            raise DataError("evaluate.no-input", name, **facts)
    return wires
