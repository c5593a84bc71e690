"""Blocks connected by named tensors: who makes what, in which order, and what depends on what."""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from restore_hub.errors import nearest
from restore_hub.spec.models import Spec
from restore_hub.spec.reader import Document

DATA = "data."


class Needs(NamedTuple):
    """What some tensors are made from.

    Attributes:
        blocks: in an order in which they can run.
        data: names of the dataset's tensors, as `data.name`, with those among the tensors themselves.
    """

    blocks: tuple[str, ...]
    data: frozenset[str]


@dataclass(frozen=True, slots=True)
class Graph:
    """The wiring of a spec.

    Attributes:
        producer: tensor name to the block that makes it.
        reads: block to the tensors it reads.
        order: blocks, each after those it reads from.
    """

    producer: Mapping[str, str]
    reads: Mapping[str, tuple[str, ...]]
    order: tuple[str, ...]

    def upstream(self, tensors: Iterable[str]) -> frozenset[str]:
        """Return the blocks that the given tensors depend on."""
        seen: set[str] = set()
        queue = [self.producer[t] for t in tensors if t in self.producer]
        while queue:
            block = queue.pop()
            if block not in seen:
                seen.add(block)
                queue += [self.producer[t] for t in self.reads[block] if t in self.producer]
        return frozenset(seen)

    def needs(self, tensors: Iterable[str]) -> Needs:
        """Return the blocks and the data that the given tensors are made from."""
        tensors = set(tensors)
        blocks = self.upstream(tensors)
        read = tensors.union(*(self.reads[block] for block in blocks))
        ordered = tuple(block for block in self.order if block in blocks)
        return Needs(ordered, frozenset(tensor for tensor in read if tensor.startswith(DATA)))


def build_graph(document: Document, spec: Spec) -> Graph:
    """Connect the blocks.

    Raises:
        SpecError: a tensor made twice, a name that nothing makes, or a circle.
    """
    producer: dict[str, str] = {}
    for name, block in spec.blocks.items():
        for index, tensor in enumerate(block.outputs):
            place = ("blocks", name, "outputs", index)
            if tensor.startswith(DATA):
                raise document.error("spec.reserved-tensor", *place, tensor=tensor)
            if tensor in producer:
                raise document.error("spec.tensor-made-twice", *place, tensor=tensor, block=producer[tensor])
            producer[tensor] = name
    reads = {name: tuple(block.tensors.values()) for name, block in spec.blocks.items()}
    for name, block in spec.blocks.items():
        _check_names(document, producer, block.tensors, "blocks", name, "inputs")
    for name, objective in spec.objectives.items():
        _check_names(document, producer, objective.inputs, "objectives", name, "inputs")
    before = {name: {producer[t] for t in tensors if t in producer} for name, tensors in reads.items()}
    try:
        order = tuple(graphlib.TopologicalSorter(before).static_order())
    except graphlib.CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise document.error("spec.circle", "blocks", circle=circle) from None
    return Graph(producer, reads, order)


def check_tensor(document: Document, producer: Mapping[str, str], tensor: str, *place: str | int) -> None:
    """Refuse a tensor that no block makes; tensors of the dataset are checked against its ports later."""
    if not tensor.startswith(DATA):
        check_made(document, producer, tensor, *place)


def check_made(document: Document, producer: Mapping[str, str], tensor: str, *place: str | int) -> None:
    """Refuse a tensor that no block makes."""
    if tensor in producer:
        return
    made = ", ".join(sorted(producer))
    raise document.error("spec.unknown-tensor", *place, tensor=tensor, made=made, mend=nearest(tensor, producer))


def _check_names(document: Document, producer: Mapping[str, str], inputs: Mapping[str, str], *place: str | int) -> None:
    for port, tensor in inputs.items():
        check_tensor(document, producer, tensor, *place, port)
