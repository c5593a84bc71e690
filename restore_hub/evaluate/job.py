"""The whole job: open candidates, data and metrics, measure each candidate on the same samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from restore_hub.contracts import Port
from restore_hub.errors import DataError, nearest
from restore_hub.evaluate.candidate import Candidate, OtherSizeError, of_file, of_results, unrestored
from restore_hub.evaluate.choice import DEFAULT, PREDICTION, choose, reading
from restore_hub.evaluate.data import Data, open_data
from restore_hub.evaluate.numbers import WithNumbers, check_numbers
from restore_hub.evaluate.predictor import Arrays
from restore_hub.evaluate.results import names_of
from restore_hub.evaluate.scores import Scores, score
from restore_hub.model.zoo import PREFIX
from restore_hub.plan.metrics import WiredMetric
from restore_hub.registry import Registry
from restore_hub.spec import DATA, HOLDOUT

if TYPE_CHECKING:
    from restore_hub.evaluate.run import OpenedRun

UNRESTORED = "unrestored"
Progress = Callable[["Candidate", int, Arrays], None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured.

    Attributes:
        data: what on, in a few words.
        target: the tensor that predictions were compared with; empty if there is none.
        metrics: by name, whether higher is better.
        scores: by candidate in the given order, after those of the unrestored data where these can be compared.
        samples: name and files of each measured sample, by its key in the scores.
        notes: lines for people.
    """

    data: str
    target: str
    metrics: Mapping[str, bool]
    scores: Mapping[str, Scores]
    samples: Mapping[str, tuple[str, Sequence[Path]]]
    notes: Sequence[str]

    @property
    def candidates(self) -> list[str]:
        """The names of what was given."""
        return [name for name in self.scores if name != UNRESTORED]


@dataclass(frozen=True, slots=True)
class Job:
    """Candidates, data and metrics, all of which fit.

    Attributes:
        data: what to measure on.
        metrics: of each candidate, by name.
        names: of the samples, in order.
    """

    candidates: Sequence[Candidate]
    data: Data
    metrics: Mapping[str, Mapping[str, WiredMetric]]
    names: Sequence[str]

    def run(self, progress: Progress | None = None) -> Evaluation:
        """Measure every candidate, and the data as they are where they have the size of their references.

        Args:
            progress: called with a candidate, the index of a sample and its tensors once it is measured.

        Raises:
            RestoreHubError: no sample can be read, or a candidate or a metric fails.
        """
        scores: dict[str, Scores] = {}
        seen: list[int] = []
        for candidate in self.candidates:
            seen.clear()

            def watch(index: int, tensors: Arrays, candidate: Candidate = candidate) -> None:
                seen.append(index)
                if progress is not None:
                    progress(candidate, index, tensors)

            try:
                wired = self.metrics[candidate.name]
                scores[candidate.name] = score(candidate.predictor, candidate.samples, wired, watch=watch)
            except OtherSizeError:
                continue
        dataset = self.data.samples.dataset
        keys = next(reversed(scores.values())).each
        samples = {key: (self.names[i], dataset.files(i)) for key, i in zip(keys, seen, strict=True)}
        directions = {n: w.metric.higher_is_better for each in self.metrics.values() for n, w in each.items()}
        notes = [*getattr(dataset, "notes", ())]
        notes += [self.data.samples.summary()] if self.data.samples.left_out else []
        return Evaluation(self.data.about, self.data.target, directions, scores, samples, notes)


def prepare(
    what: Sequence[str],
    registry: Registry,
    *,
    data: str | None = None,
    reference: Path | None = None,
    metrics: str | None = None,
    numbers: Mapping[str, float] | None = None,
    weights: str | None = None,
    device: str = "cpu",
) -> Job:
    """Open everything, and check that it fits.

    Args:
        what: run folders, exported files, `zoo:NAME`, or folders of results; no two the same.
        registry: what is registered.
        data: a split of the first run, or as `open_data`; by default the split `holdout` of the first run, or nothing
            for folders of results with a `reference`.
        reference: as `open_data`.
        metrics: as `choose`; by default those of the run whose split it is, or PSNR and SSIM.
        numbers: by the name of an input of what is evaluated, the same for all samples.
        weights: name of a checkpoint for runs; by default the one that they export.
        device: where runs and files are computed.

    Raises:
        RestoreHubError: anything that can't be opened, or doesn't fit.
    """
    kinds = {name: _kind(name) for name in what}
    runs = {name: _open_run(name, registry, weights, device) for name, kind in kinds.items() if kind == "run"}
    split, opened = _open_data(data, reference, next(iter(runs.values()), None), registry)
    if numbers:
        opened.samples.dataset = WithNumbers(opened.samples.dataset, numbers)
    candidates = [
        of_file(name, device, opened)
        if kind == "file"
        else of_results(name, opened)
        if kind == "results"
        else runs[name].candidate(opened, own=runs[name] is split)
        for name, kind in kinds.items()
    ]
    check_numbers(numbers or {}, {each.name: each.taken for each in candidates})
    own = split.metrics() if split is not None and metrics is None else {}
    wanted = own or choose(metrics or DEFAULT, opened.target, registry)
    wired = {each.name: reading(wanted, PREDICTION, each.output) for each in candidates}
    for each in candidates:
        _check_tensors(each, wired[each.name])
    bare = unrestored(UNRESTORED, opened)
    if bare is not None:
        compared = {name: each for name, each in wanted.items() if PREDICTION in each.inputs.values()}
        ports = {PREDICTION, *(DATA + tensor for tensor in opened.samples.dataset.ports)}
        wired[UNRESTORED] = {name: each for name, each in compared.items() if ports >= set(each.inputs.values())}
        candidates = [bare, *candidates] if wired[UNRESTORED] else candidates
    return Job(candidates, opened, wired, names_of(opened.samples.dataset))


def _kind(name: str) -> str:
    path = Path(name)
    if name.startswith(PREFIX) or path.suffix.lower() == ".onnx":
        return "file"
    if path.is_dir():
        return "run" if (path / "spec.json").is_file() else "results"
    raise DataError("evaluate.not-a-candidate", name)


def _open_run(name: str, registry: Registry, weights: str | None, device: str) -> OpenedRun:
    from restore_hub.evaluate.run import open_run  # it imports torch

    return replace(open_run(Path(name), registry, weights, device), name=name)


def _open_data(
    given: str | None, reference: Path | None, run: OpenedRun | None, registry: Registry
) -> tuple[OpenedRun | None, Data]:
    """Return the data, and the run whose split they are."""
    if run is not None and reference is None:
        if given is None or given in run.plan.datasets:
            return run, run.split(given or HOLDOUT)
        if not given.lstrip().startswith("{") and not Path(given).is_dir():
            return run, run.split(given)
    return None, open_data(given, reference, registry)


def _check_tensors(candidate: Candidate, metrics: Mapping[str, WiredMetric]) -> None:
    """Refuse metrics of tensors that neither a candidate nor the data have."""
    dataset = candidate.samples.dataset
    ports: dict[str, Port] = {**candidate.predictor.ports, **{DATA + name: p for name, p in dataset.ports.items()}}
    for name, wired in metrics.items():
        for tensor in wired.inputs.values():
            if tensor not in ports:
                facts = {"metric": name, "tensor": tensor, "known": ", ".join(ports)}
                raise DataError("evaluate.no-tensor", candidate.name, mend=nearest(tensor, ports), **facts)
