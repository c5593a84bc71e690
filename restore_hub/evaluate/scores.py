"""How good a predictor is on the samples of a split."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from restore_hub.contracts import Metric, Port
from restore_hub.errors import RestoreHubError, TrainingError, lacks_memory, reason_of
from restore_hub.evaluate.predictor import Arrays, Predictor
from restore_hub.evaluate.running import SampleMean, begin
from restore_hub.evaluate.views import for_metric, for_people, showable
from restore_hub.spec import DATA

if TYPE_CHECKING:
    from restore_hub.plan.metrics import WiredMetric
    from restore_hub.plan.samples import Samples

PICTURES_KEPT = 3
Watch: TypeAlias = Callable[[int, Arrays], None]
ROLES = {"prediction": "output", "target": "reference"}  # pictures are named after the arguments of a metric


@dataclass(frozen=True, slots=True)
class Scores:
    """Metrics on data that trains nothing.

    Attributes:
        means: of each metric, over the samples that could be read; of a metric of all samples, its value.
        each: by sample, `<index>-<stem>`, the metrics that measure one sample; empty for a problem.
        pictures: (H, W, 3) by `<index>-<stem>-<role>`, of the first samples.
    """

    means: Mapping[str, float]
    each: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    pictures: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)

    def above(self, other: Scores, metric: str) -> dict[str, float]:
        """Return by how much a metric exceeds its value in other scores, for each sample that both measured."""
        pairs = ((name, values, other.each.get(name, {})) for name, values in self.each.items())
        both = {name: (a[metric], b[metric]) for name, a, b in pairs if metric in a and metric in b}
        return {name: a - b if a != b else 0.0 for name, (a, b) in both.items()}  # also where both are infinite


def score(
    predictor: Predictor,
    samples: Samples,
    metrics: Mapping[str, WiredMetric],
    indices: Sequence[int] | None = None,
    pictures: int = 0,
    watch: Watch | None = None,
) -> Scores:
    """Run a predictor on whole samples and measure what it makes. Samples that are left out count nowhere.

    Of the first samples, the pictures to look at are returned: `input` is the first picture of the data that the
    predictor reads, `output` and `reference` are those that the first metric of pictures compares.

    Args:
        predictor: what to measure.
        samples: the split.
        metrics: by name; each sees what `views.for_metric` makes of the tensors that it reads.
        indices: of the samples to use, all by default. A part has no means, since a metric may need more samples.
        pictures: number of samples to return pictures of.
        watch: called with the index and the tensors of each sample once it is measured.

    Raises:
        DataError: no sample can be read. TrainingError: a metric raises, or returns no number.
    """
    ports = {**predictor.ports, **{DATA + name: port for name, port in samples.dataset.ports.items()}}
    running = {name: begin(wired.metric) for name, wired in metrics.items()}
    inputs = [name for name in predictor.reads if name.removeprefix(DATA) in samples.dataset.ports]
    roles = _roles(inputs, ports, metrics) if pictures else {}
    read = {*roles.values(), *(tensor for wired in metrics.values() for tensor in wired.inputs.values())}
    made = [tensor for tensor in sorted(read) if not tensor.startswith(DATA)]
    each: dict[str, dict[str, float]] = {}
    shown: dict[str, NDArray[np.uint8] | None] = {}
    for index in range(len(samples)) if indices is None else indices:
        sample = samples.read(index, None)
        if sample is None:
            continue
        data = {DATA + name: array for name, array in sample.items()}
        tensors = {**data, **predictor(data, made)}
        place = _name(index, samples.dataset.files(index))
        each[place] = {}
        for name, wired in metrics.items():
            arrays = {argument: for_metric(tensors[t], ports[t]) for argument, t in wired.inputs.items()}
            each[place].update(_update(name, place, running[name], arrays))
        if watch is not None:
            watch(index, tensors)
        if len(each) <= pictures:
            shown.update({f"{place}-{role}": for_people(tensors[t], ports[t]) for role, t in roles.items()})
    if not each:
        raise samples.none_readable()
    means = {} if indices is not None else {name: _compute(name, metric) for name, metric in running.items()}
    return Scores(means, each, {name: picture for name, picture in shown.items() if picture is not None})


def _update(name: str, place: str, metric: Metric, arrays: Arrays) -> dict[str, float]:
    """Give a metric a sample; return the sample's value by the metric's name, if it has one."""
    try:
        with _naming(name):
            metric.update(**arrays)
    except RestoreHubError as error:
        raise error.at(f"sample {place}") from error
    return {name: metric.values[-1]} if isinstance(metric, SampleMean) else {}


def _compute(name: str, metric: Metric) -> float:
    with _naming(name):
        return float(metric.compute())


@contextlib.contextmanager
def _naming(metric: str) -> Iterator[None]:
    """Name a metric that raises."""
    try:
        yield
    except Exception as error:
        if isinstance(error, RestoreHubError) or lacks_memory(error):
            raise
        raise TrainingError("train.metric-failed", f"metric {metric!r}", cause=reason_of(error)) from error


def _name(index: int, files: Sequence[Path]) -> str:
    return f"{index}-{files[0].stem}" if files else str(index)


def _roles(inputs: Sequence[str], ports: Mapping[str, Port], metrics: Mapping[str, WiredMetric]) -> dict[str, str]:
    """Return which tensors are kept as pictures, by role."""
    compared = ({a: t for a, t in wired.inputs.items() if showable(ports[t])} for wired in metrics.values())
    first = next(filter(None, compared), {})
    given = [("input", tensor) for tensor in inputs if showable(ports[tensor])]
    return dict(given[:1]) | {ROLES.get(a, a): t for a, t in first.items()}
