"""A run folder as what is measured, and its splits as what is measured on; this needs PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from restore_hub.contracts import Dataset, Port
from restore_hub.errors import DataError, nearest
from restore_hub.evaluate.candidate import Candidate, Connected, connect
from restore_hub.evaluate.chain import ChainPredictor
from restore_hub.evaluate.choice import PREDICTION, reading
from restore_hub.evaluate.data import Data, data_of
from restore_hub.evaluate.predictor import Predictor
from restore_hub.evaluate.problem import ProblemPredictor
from restore_hub.plan.chain import build_chain
from restore_hub.plan.device import usable_device
from restore_hub.plan.metrics import WiredMetric, make_metrics
from restore_hub.plan.plan import Plan
from restore_hub.plan.problems import make_problem
from restore_hub.plan.run_folder import checkpoint_of, plan_of_run
from restore_hub.plan.samples import Samples
from restore_hub.plan.splits import make_dataset
from restore_hub.plan.weights import load_checkpoint
from restore_hub.registry import Registry
from restore_hub.spec import DATA


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run with the weights of a checkpoint.

    Attributes:
        taken: the tensors of the data that its output is made of, with their ports.
        output: the tensor of the exported chain; empty if its spec exports none.
    """

    name: str
    plan: Plan
    predictor: Predictor
    taken: Mapping[str, Port]
    output: str

    def metrics(self) -> dict[str, WiredMetric]:
        """Return the metrics of its spec; they read `PREDICTION` where they read the exported chain."""
        made = make_metrics(self.plan)
        return reading(made, self.output, PREDICTION) if self.output else made

    def split(self, name: str) -> Data:
        """Return a split of its spec.

        Raises:
            DataError: the spec has no such split, and there's no such folder.
        """
        splits = self.plan.datasets
        if name not in splits:
            known = ", ".join(splits) or "none"
            raise DataError("evaluate.no-split", name, run=self.name, known=known, mend=nearest(name, splits))
        dataset = make_dataset(self.plan, name)
        about = f"{name} of {self.name}"
        strict = self.plan.spec.data[name].strict
        return Data(Samples(dataset, about, strict), self._target(dataset), about)

    def _target(self, dataset: Dataset) -> str:
        """Return what the first metric compares with."""
        read = [t for part in self.plan.metrics.values() for t in part.inputs.values() if t.startswith(DATA)]
        return next((t for t in read if t not in self.taken), next(iter(read), data_of(dataset, "").target))

    def candidate(self, data: Data, own: bool) -> Candidate:
        """Return it as a candidate on data, which may be its own.

        Raises:
            DataError: the data lack what it takes.
        """
        wires = {tensor: tensor for tensor in self.predictor.reads} if own else connect(self.name, self.taken, data)
        return Candidate(
            self.name, Connected(self.predictor, wires), self.output or PREDICTION, data.samples, self.taken
        )


def open_run(folder: Path, registry: Registry, weights: str | None, device: str) -> OpenedRun:
    """Load a run folder.

    Args:
        folder: the run.
        registry: what is registered.
        weights: name of a checkpoint; by default the one that the run exports.
        device: a torch device.

    Raises:
        ExportError: not a run folder, or no such checkpoint. DataError: its problem brings its own data.
        TrainingError: no such device.
    """
    _, plan = plan_of_run(folder, registry)
    if not plan.datasets:
        raise DataError("evaluate.own-data", folder)
    checkpoint = checkpoint_of(folder, weights or (plan.spec.export.weights if plan.metrics else "last"))
    if plan.problem is not None:
        problem = make_problem(plan)
        load_checkpoint(problem.blocks, checkpoint)
        problem.blocks.to(usable_device(device))
        ports: Mapping[str, Port] = next(iter(plan.datasets.values())).target.ports
        taken = {DATA + name: port for name, port in ports.items()}
        return OpenedRun(str(folder), plan, ProblemPredictor(problem, ports), taken, "")
    chain = build_chain(plan)
    load_checkpoint(chain.blocks, checkpoint)
    predictor = ChainPredictor(chain.to(usable_device(device)))
    output = plan.spec.export.chain
    reads = predictor.reads if output is None else chain.graph.needs([output]).data
    return OpenedRun(str(folder), plan, predictor, {t: chain.ports[t] for t in reads}, output or "")
