"""Replaces the tasks of a spec by what they stand for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from typing import Any

import torch

from restore_hub.contracts import Network, Port
from restore_hub.errors import nearest
from restore_hub.options import tensors_of
from restore_hub.plan.lookup import Lookup, Part
from restore_hub.plan.tasks.decode import Decode
from restore_hub.plan.tasks.piece import Piece
from restore_hub.spec import Spec
from restore_hub.spec.models import Block, Objective, TaskUse

Names = Mapping[str, str]


@dataclass(frozen=True)
class Expansion:
    """A spec of blocks and objectives alone.

    Attributes:
        spec: the expanded spec.
        tasks: by the name of their block.
        targets: what each task compares with, by name.
        pieces: what the tasks brought, by role and name.
    """

    spec: Spec
    tasks: dict[str, Part] = field(default_factory=dict)
    targets: dict[str, Mapping[str, Port]] = field(default_factory=dict)
    pieces: dict[tuple[str, str], Piece] = field(default_factory=dict)


def expand(spec: Spec, look: Lookup) -> Expansion:
    """Replace every task of a spec by the blocks and objectives that it stands for.

    Each task is made to learn what it has, its network without memory. Torch's random state is left as it was.

    Raises:
        SpecError: a task that is unknown, can't be made or contradicts itself; a target that it doesn't have, that is
            missing, or that the task makes itself.
    """
    blocks, objectives = dict(spec.blocks), dict(spec.objectives)
    found = Expansion(spec.model_copy(update={"blocks": blocks, "objectives": objectives}))
    for name, use in spec.tasks.items():
        part = found.tasks[name] = look.part("task", use.task, use, {}, "blocks", name)
        with torch.random.fork_rng(devices=[]):
            task = part.make()
            _check_targets(part, use, task.targets)
            found.targets[name] = task.targets
            pieces = list(_pieces(part, name, use, task))
        for piece in pieces:
            found.pieces[piece.role, piece.name] = piece
            inputs = dict(piece.inputs)
            if piece.role == "network":
                weights, numbers = (use.weights, use.numbers) if piece.name == name else (None, {})
                blocks[piece.name] = Block(
                    network=use.task, inputs={**inputs, **numbers}, outputs=list(piece.outputs), weights=weights
                )
                part.document.moved["blocks", piece.name] = part.place
                part.document.moved["blocks", piece.name, "network"] = (*part.place, "task")
            elif piece.role == "loss":
                objectives[piece.name] = Objective(loss=piece.name, inputs=inputs)
                part.document.moved["objectives", piece.name] = part.place
                piece.point_at_targets("objectives", piece.name)
    return found


def _check_targets(part: Part, use: TaskUse, targets: Mapping[str, Port]) -> None:
    component = part.component.name
    for target in use.targets:
        if target not in targets:
            facts = {"component": component, "target": target, "known": ", ".join(targets) or "none"}
            raise part.error("spec.no-target", "targets", target, mend=nearest(target, targets), **facts)
    for target in targets:
        if target not in use.targets:
            raise part.error("spec.missing-target", "targets", component=component, target=target)


def _pieces(part: Part, name: str, use: TaskUse, task: Any) -> Iterator[Piece]:
    """Yield the network, what decodes its outputs, the losses and the metrics."""
    block = Piece.of(part, "network", name, lambda task: task.network(), use.tensors)
    with torch.device("meta"):
        network: Network = block.make()
    ports, own = list(network.outputs), list(use.outputs)
    outputs = [*own, *(f"{name}.{port}" for port in ports[len(own) :])]
    yield replace(block, outputs=tuple(outputs))
    made = dict(zip(ports, outputs, strict=False))
    predictions: Mapping[str, Port] = getattr(task, "predictions", {})
    decoded = {prediction: f"{name}.{prediction}" for prediction in predictions}
    _check_apart(part, {"outputs": ports, "targets": task.targets, "predictions": predictions})
    for target, tensor in use.targets.items():
        if tensor in (*made.values(), *decoded.values()):
            raise part.error("spec.own-target", "targets", target, component=part.component.name, tensor=tensor)
    if predictions:
        read = _wired(part, f"{name}:decode", inspect.signature(task.decode).parameters.values(), made)
        taken = {port: network.outputs[port] for port in read}
        yield Piece.of(
            part,
            "network",
            f"{name}:decode",
            lambda task: Decode(task.decode, taken, predictions, part.document.at(*part.place)),
            read,
            outputs=tuple(decoded.values()),
        )
    wires = {**use.tensors, **made, **use.targets}
    for role, table, tensors in (("loss", "losses", wires), ("metric", "metrics", {**wires, **decoded})):
        for called in getattr(task, table, {}):
            yield _called(part, role, f"{name}.{called}", partial(_taken, table, called), task, use.targets, tensors)


def _taken(table: str, name: str, task: Any) -> Any:
    return getattr(task, table)[name]


def _called(
    part: Part, role: str, name: str, pick: Callable[[Any], Any], task: Any, targets: Names, tensors: Names
) -> Piece:
    """Return a loss or metric, wired to the tensors that its parameters are named after."""
    parameters = tuple(tensors_of(pick(task)))
    inputs = _wired(part, name, parameters, tensors)
    read = tuple(target for target in targets if target in inputs)
    return Piece.of(part, role, name, pick, inputs, parameters=parameters, targets=read)


def _wired(part: Part, name: str, parameters: Iterable[inspect.Parameter], wires: Names) -> dict[str, str]:
    found, component = {}, part.component.name
    for parameter in parameters:
        if parameter.name in wires:
            found[parameter.name] = wires[parameter.name]
        elif parameter.default is parameter.empty:
            facts = {"component": component, "piece": name, "port": parameter.name, "known": ", ".join(wires)}
            raise part.error("spec.task-input", "task", mend=nearest(parameter.name, wires), **facts)
    if not found:
        raise part.error("spec.task-no-input", "task", component=component, piece=name)
    return found


def _check_apart(part: Part, names: Mapping[str, Collection[str]]) -> None:
    for (one, some), (other, others) in combinations(names.items(), 2):
        for name in some:
            if name in others:
                facts = {"component": part.component.name, "name": name, "one": one, "other": other}
                raise part.error("spec.task-names-clash", "task", **facts)
