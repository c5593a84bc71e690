"""What `restore-hub check` finds without training: shapes through the chain, parameters, cost of a step."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from restore_hub.batch import Value, wrong
from restore_hub.bilevel import evaluations
from restore_hub.contracts import Port
from restore_hub.errors import DataError, TrainingError, counted, reason_of
from restore_hub.plan.chain import Chain, Wires, build_chain
from restore_hub.plan.empty import empty
from restore_hub.plan.metrics import WiredMetric, make_metrics
from restore_hub.plan.objectives import Objectives
from restore_hub.plan.plan import Plan
from restore_hub.plan.problems import check_problem, first_batch, make_problem
from restore_hub.plan.splits import check_splits_apart, make_dataset, notes_of
from restore_hub.plan.weights import load_block_weights
from restore_hub.port import SPATIAL
from restore_hub.ragged import Ragged
from restore_hub.spec import DATA, HOLDOUT

DEFAULT_PICTURE = 128


@dataclass(frozen=True, slots=True)
class Findings:
    """What a dry run of a plan finds.

    Attributes:
        shapes: shape of every tensor for one batch, by name, in the order of the chain; with a problem those of the
            first batch of each split, as `split.name`.
        makers: block (or `data`) that makes each tensor.
        parameters: number of parameters of each block.
        samples: in one batch of each split.
        costs: for each stage, a line with its levels and the gradient evaluations of one outer step.
        remarks: what a person should read.
        metrics: those of the spec, made.
        ports: of the tensors that metrics can read.
    """

    shapes: Mapping[str, tuple[int | str, ...]]
    makers: Mapping[str, str]
    parameters: Mapping[str, int]
    samples: Mapping[str, int]
    costs: tuple[str, ...]
    remarks: tuple[str, ...]
    metrics: Mapping[str, WiredMetric]
    ports: Mapping[str, Port]


def dry_run(plan: Plan) -> Findings:
    """Run the chain on the meta device and look at the data that is there; or run the energies of a problem once.

    Raises:
        SpecError: tensors that don't fit each other.
        DataError: data that is there and can't be used.
    """
    costs = tuple(_cost(plan, index) for index in range(len(plan.spec.stages)))
    if plan.problem is not None:
        return _of_problem(plan, costs)
    remarks = _look_at_data(plan)
    chain = build_chain(plan, "meta")
    load_block_weights(plan, chain)
    metrics = make_metrics(plan)
    shapes = _shapes(plan, chain)
    makers = {name: chain.graph.producer.get(name, "data") for name in shapes}
    parameters = {name: sum(p.numel() for p in block.parameters()) for name, block in chain.blocks.items()}
    samples = {name: split.batch_size for name, split in plan.spec.data.items()}
    ports = {name: _as_made(port, shapes[name]) for name, port in chain.ports.items() if name in shapes}
    notes = (*plan.remarks, *remarks)
    return Findings(shapes, makers, parameters, samples, costs, notes, metrics, {**ports, **_holdout_ports(plan)})


def _of_problem(plan: Plan, costs: tuple[str, ...]) -> Findings:
    problem = make_problem(plan)
    remarks = check_problem(plan, problem)
    batches = {split: first_batch(plan, problem, split) for split in plan.spec.data or problem.splits}
    if plan.spec.data:
        remarks += _look_at_data(plan)
    metrics = make_metrics(plan)
    shapes = {f"{split}.{key}": _shape(t) for split, batch in batches.items() for key, t in batch.items()}
    parameters = {name: sum(p.numel() for p in block.parameters()) for name, block in problem.blocks.items()}
    samples = {split: len(next(iter(batch.values()))) for split, batch in batches.items()}
    notes = (*plan.remarks, *remarks, *getattr(problem, "notes", ()))
    ports = {**getattr(problem, "outputs", {}), **_holdout_ports(plan)}
    return Findings(shapes, dict.fromkeys(shapes, "data"), parameters, samples, costs, notes, metrics, ports)


def _shapes(plan: Plan, chain: Chain) -> dict[str, tuple[int | str, ...]]:
    split = next(iter(plan.spec.data), None)
    crop: Any = None if split is None else plan.datasets[split].options.get("crop")
    size = int(crop or DEFAULT_PICTURE) // 2 * 2  # packed planes have half of it
    extent = dict.fromkeys(SPATIAL, size)
    batch = 1 if split is None else plan.spec.data[split].batch_size
    wires = {name: empty(port, batch, extent) for name, port in chain.ports.items() if name.startswith(DATA)}
    for name in chain.graph.order:
        try:
            wires = chain.run([name], wires)
        except (RuntimeError, ValueError) as error:
            if _needs_values(error):
                wires |= {t: empty(chain.ports[t], batch, extent) for t in chain.outputs_of(name)}
                continue
            raise plan.networks[name].error("spec.block-fails", size=size, cause=reason_of(error)) from error
        _check_made(plan, chain, name, wires)
    _check_losses(plan, wires)
    return {name: _shape(value) for name, value in wires.items()}


def _as_made(port: Port, shape: tuple[int | str, ...]) -> Port:
    """Return a port with the number of channels that a chain made, where the port leaves it open."""
    if port.channels is not None or "channel" not in port.axes:
        return port
    return replace(port, channels=int(shape[1 + port.axes.index("channel")]))


def _holdout_ports(plan: Plan) -> dict[str, Port]:
    part = plan.datasets.get(HOLDOUT)
    return {DATA + name: port for name, port in part.target.ports.items()} if part else {}


def _shape(value: Value) -> tuple[int | str, ...]:
    """Return the shape of a batch; a ragged axis has no size."""
    return (len(value), "any", *value.values.shape[1:]) if isinstance(value, Ragged) else tuple(value.shape)


def _check_made(plan: Plan, chain: Chain, name: str, wires: Wires) -> None:
    """Compare what a block returned with what it declares."""
    for tensor in chain.outputs_of(name):
        found = wrong(wires[tensor], chain.ports[tensor])
        if found:
            part = plan.networks[name]
            facts = {"component": part.component.name, "declared": found[1], "tensor": tensor, "made": found[0]}
            raise part.error("spec.wrong-output", "outputs", **facts)


def _check_losses(plan: Plan, wires: Wires) -> None:
    """Call every loss on tensors without data, to find shapes that don't fit before training."""
    for name, part in plan.losses.items():
        objectives = Objectives({name: part.make()}, {name: part.inputs}).to(torch.device("meta"))
        try:
            objectives.value({name: 1.0}, wires)
        except DataError as error:
            raise part.located(error) from error
        except TrainingError as error:
            if not _needs_values(error.__cause__):
                raise part.error(error.code, **error.facts) from error


def _needs_values(error: BaseException | None) -> bool:
    """Whether it looks at values, which the meta device doesn't have, or its own tensors stay elsewhere."""
    own = "meta|Meta" if isinstance(error, NotImplementedError) else "meta (tensor|device)|device meta"
    return re.search(own, str(error)) is not None


def _cost(plan: Plan, index: int) -> str:
    stage = plan.spec.stages[index]
    count = evaluations([part.make() for part in plan.solvers[index]], stage.lower_steps)
    length = counted(stage.minutes, "minute") if stage.minutes else counted(stage.steps or 0, "step")
    levels = " over ".join(f"[{', '.join(level.blocks)}] on {' and '.join(level.splits)}" for level in stage.levels)
    solvers = ", ".join(dict.fromkeys(part.component.name for part in plan.solvers[index]))
    return f"{solvers}: {length}, {levels}, {counted(count, 'gradient evaluation')} a step"


def _look_at_data(plan: Plan) -> list[str]:
    """Make the datasets whose root exists, to find broken data now; return which don't exist yet, and notes."""
    remarks, made = [], {}
    for name, part in plan.datasets.items():
        root: Any = part.options.get("root")
        if isinstance(root, Path) and not root.exists():
            remarks.append(
                f"{plan.document.at('data', name, 'root')}: {root} does not exist here, so it is not checked"
            )
            continue
        made[name] = make_dataset(plan, name)
    check_splits_apart(made)
    return remarks + notes_of(made)
