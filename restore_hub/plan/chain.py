"""The blocks of a spec as one module that runs them in the order of the graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from restore_hub.contracts import Network, Port
from restore_hub.errors import nearest
from restore_hub.plan.lookup import Part
from restore_hub.plan.plan import Plan
from restore_hub.plan.twin import twin
from restore_hub.ragged import Ragged
from restore_hub.spec import DATA, Graph, level_place
from restore_hub.spec.models import BlockOrTask

Wires = dict[str, Any]  # a tensor or a `Ragged` each


class Chain(nn.Module):
    """Named blocks and how they are wired.

    Attributes:
        blocks: the networks by block name.
        graph: the wiring.
        ports: `Port` of every tensor, those of the data included.
        numbers: the inputs that no tensor is wired to, by a name that tells their place in the spec. Each sample gets
            the number, unless a tensor of that name is among the wires.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        graph: Graph,
        wiring: Mapping[str, tuple[Mapping[str, str], tuple[str, ...]]],
        data_ports: Mapping[str, Port],
        numbers: Mapping[str, float],
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict(networks)
        self.graph = graph
        self.numbers = dict(numbers)
        self._wiring = dict(wiring)
        self.ports: dict[str, Port] = {DATA + name: port for name, port in data_ports.items()}
        for name in graph.order:
            network = self.network(name)
            self.ports.update(zip(wiring[name][1], network.outputs.values(), strict=False))
            self.ports.update({t: network.inputs[port] for port, t in wiring[name][0].items() if t in numbers})

    def inputs_of(self, block: str) -> Mapping[str, str]:
        """Return a block's input ports and the tensors wired to them, in the order of its declaration."""
        given = self._wiring[block][0]
        return {port: given[port] for port in self.network(block).inputs}

    def data_numbers(self) -> dict[str, list[Port]]:
        """Return the ports by which blocks read numbers of the data, by the number's name there."""
        found: dict[str, list[Port]] = {}
        for block in self.graph.order:
            for port, tensor in self.inputs_of(block).items():
                declared = self.network(block).inputs[port]
                if tensor.startswith(DATA) and not declared.axes:
                    found.setdefault(tensor.removeprefix(DATA), []).append(declared)
        return found

    def outputs_of(self, block: str) -> tuple[str, ...]:
        """Return the names of the tensors that a block makes."""
        return self._wiring[block][1]

    def run(
        self,
        blocks: Iterable[str],
        wires: Wires,
        replaced: Mapping[Tensor, Tensor] | None = None,
        updated: Collection[str] | None = None,
    ) -> Wires:
        """Run blocks in the given order on named tensors and return these with the new ones added.

        Args:
            blocks: names, in an order that the graph allows.
            wires: tensors by name; not changed.
            replaced: what to use instead of which parameter, in every block that holds it.
            updated: the blocks whose buffers may change, such as running statistics of batch normalisation; all by
                default. The others run on copies of theirs.
        """
        wires, replaced = dict(wires), replaced or {}
        for name in blocks:
            inputs = self._inputs(name, wires)
            block = self.blocks[name]
            keep = updated is not None and name not in updated
            changes = keep and block.training and next(block.buffers(), None) is not None
            if changes or (replaced and any(parameter in replaced for parameter in block.parameters())):
                block = twin(block, replaced, own_buffers=keep)
            result: Any = block(*inputs)
            results = result if isinstance(result, tuple) else (result,)
            wires.update(zip(self.outputs_of(name), results, strict=False))
        return wires

    def _inputs(self, block: str, wires: Wires) -> tuple[Any, ...]:
        tensors = self.inputs_of(block).values()
        there = [wires[tensor] for tensor in tensors if tensor in wires]
        return tuple(wires[t] if t in wires else self._repeated(t, block, there) for t in tensors)

    def _repeated(self, number: str, block: str, there: list[Any]) -> Tensor:
        """Return a number of the spec for each sample; of float64 beside such tensors, never narrower than float32."""
        found = [value.values if isinstance(value, Ragged) else value for value in there]
        kinds = (tensor.dtype for tensor in (*found, *self.blocks[block].parameters()) if tensor.is_floating_point())
        wide = torch.promote_types(next(kinds, torch.float32), torch.float32)
        dtype = torch.int64 if self.ports[number].dtype == "int64" else wide
        return torch.full((len(there[0]),), self.numbers[number], dtype=dtype, device=found[0].device)

    def forward(self, wires: Wires) -> Wires:
        """Run the whole chain."""
        return self.run(self.graph.order, wires)

    def network(self, block: str) -> Network:
        """Return a block as what its contract promises."""
        return cast("Network", self.blocks[block])


def build_chain(plan: Plan, device: str = "cpu") -> Chain:
    """Make the networks (on `meta` for a check that costs nothing) and check the ports of every connection.

    Raises:
        SpecError: a port that doesn't exist, more outputs than the network has, tensors or numbers that don't fit, also
            those that a task compares with, or a batch in parts through a block with batch normalisation.
    """
    with torch.device(device):
        networks = {name: part.make() for name, part in plan.networks.items()}
    wiring, numbers = {}, dict[str, float]()
    for name, block in plan.spec.blocks.items():
        _check_ports(plan.networks[name], networks[name], block)
        given = {**_defaults(networks[name]), **block.numbers}
        named = {port: f"blocks.{name}.inputs.{port}" for port in given if port not in block.tensors}
        numbers.update({tensor: given[port] for port, tensor in named.items()})
        wiring[name] = ({**block.tensors, **named}, tuple(block.outputs))
    _check_accumulation(plan, networks)
    chain = Chain(networks, plan.graph, wiring, _data_ports(plan, networks), numbers)
    for name in plan.graph.order:
        inputs = networks[name].inputs
        for port, tensor in chain.inputs_of(name).items():
            _check_fit(chain, tensor, inputs[port], plan.networks[name], "inputs", port)
    for name, targets in plan.targets.items():
        for target, wanted in targets.items():
            _check_fit(chain, plan.written.tasks[name].targets[target], wanted, plan.tasks[name], "targets", target)
    return chain


def _check_fit(chain: Chain, tensor: str, wanted: Port, part: Part, *keys: str) -> None:
    """Compare a tensor with the port that a part of the spec reads it by."""
    misfit = chain.ports[tensor].misfit(wanted) if tensor in chain.ports else None
    if misfit:
        raise part.error("spec.port-misfit", *keys, tensor=tensor, made=misfit[0], wanted=misfit[1])


def alone(name: str, network: Any) -> Chain:
    """Return a chain of one network, whose inputs and outputs have the names of its ports."""
    inputs, outputs = {port: DATA + port for port in network.inputs}, tuple(network.outputs)
    graph = Graph(dict.fromkeys(outputs, name), {name: tuple(inputs.values())}, (name,))
    return Chain({name: network}, graph, {name: (inputs, outputs)}, network.inputs, {})


def _data_ports(plan: Plan, networks: Mapping[str, Any]) -> Mapping[str, Port]:
    """Return the ports of the data: those of all datasets where there are some, else of the blocks that read it.

    Raises:
        SpecError: two splits mean different things by one name.
    """
    if plan.datasets:
        ports: dict[str, Port] = {}
        for part in plan.datasets.values():
            for name, port in part.target.ports.items():
                misfit = port.misfit(ports.setdefault(name, port))
                if misfit:
                    facts = {"tensor": DATA + name, "made": misfit[0], "wanted": misfit[1]}
                    raise part.error("spec.splits-differ", "dataset", **facts)
        return ports
    return {
        tensor.removeprefix(DATA): networks[name].inputs[port]
        for name, block in plan.spec.blocks.items()
        for port, tensor in block.tensors.items()
        if tensor.startswith(DATA)
    }


def _check_ports(part: Part, network: Any, block: BlockOrTask) -> None:
    kind, known = part.component.name, list(network.inputs)
    for port in block.inputs:
        if port not in known:
            mend = nearest(port, known)
            raise part.error(
                "spec.no-input", "inputs", port, component=kind, port=port, known=", ".join(known), mend=mend
            )
    for port, declared in network.inputs.items():
        if port not in block.inputs and declared.default is None:
            raise part.error("spec.missing-input", "inputs", component=kind, port=port)
    for port, value in block.numbers.items():
        if not network.inputs[port].admits(value):
            wanted = network.inputs[port].describe()
            raise part.error("spec.bad-number", "inputs", port, component=kind, port=port, wanted=wanted, got=value)
    if not block.tensors:
        raise part.error("spec.no-tensor-read", "inputs")
    if len(block.outputs) > len(network.outputs):
        facts = {"count": len(network.outputs), "outputs": ", ".join(network.outputs), "named": len(block.outputs)}
        raise part.error("spec.too-many-outputs", "outputs", component=kind, **facts)


def _defaults(network: Network) -> dict[str, float]:
    return {port: declared.default for port, declared in network.inputs.items() if declared.default is not None}


def _check_accumulation(plan: Plan, networks: Mapping[str, nn.Module]) -> None:
    """Refuse batches in parts where a block takes its statistics from the whole batch."""
    for index, stage in enumerate(plan.spec.stages):
        trained = {block for level in stage.levels for block in level.blocks}
        for number, level in enumerate(stage.levels):
            for block, network in networks.items() if level.accumulate > 1 else ():
                layer = _batch_statistics(network, block in trained)
                if layer:
                    facts = {"block": block, "layer": layer}
                    place = level_place(plan.document, index, number)
                    raise plan.document.error("spec.batch-norm-in-parts", *place, "accumulate", **facts)


def _batch_statistics(network: nn.Module, trained: bool) -> str:
    """Return the first layer that normalises by the statistics of a batch; empty without one.

    A block of no level takes the batch's statistics too, where it has none of its own.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (trained or module.running_mean is None):
            return f"{type(module).__name__} {name!r}"
    return ""
