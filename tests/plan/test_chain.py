"""Blocks run by name, and with other parameters in place of their own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from restore_hub.plan import Plan, build_chain
from restore_hub.plan.chain import _call_with
from restore_hub_retinex.networks import Illumination


def test_replaced_parameters_are_used_and_the_module_is_left_as_it_was() -> None:
    """The illumination network registers modules under two names, which `functional_call` alone gets wrong."""
    torch.manual_seed(0)
    network = Illumination().eval()
    image = torch.rand(1, 3, 8, 8)
    before = {name: id(p) for name, p in network.named_parameters(remove_duplicate=False)}
    other = {name: 1.1 * p.detach() for name, p in network.named_parameters()}
    plain = network(image)[0]
    replaced = _call_with(network, other, (image,))[0]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.1)
    assert torch.equal(replaced, network(image)[0])
    assert not torch.equal(replaced, plain)
    assert before == {name: id(p) for name, p in network.named_parameters(remove_duplicate=False)}


def test_a_tensor_tied_between_two_modules_is_replaced_in_both() -> None:
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    network[1].weight = network[0].weight
    doubled = {"0.weight": 2 * network[0].weight.detach()}
    x = torch.randn(1, 2)
    assert torch.allclose(_call_with(network, doubled, (x,)), 4 * network(x))


def test_a_chain_runs_part_by_part(make: Callable[..., Plan]) -> None:
    chain = build_chain(make()).eval()
    wires = {"data.raw": torch.rand(1, 4, 8, 8), "data.rgb": torch.rand(1, 3, 16, 16)}
    whole = chain(wires)
    first = chain.run(["generate"], wires)
    assert "enhanced" not in first
    assert torch.equal(chain.run(["enhance"], first)["enhanced"], whole["enhanced"])
    assert set(wires) == {"data.raw", "data.rgb"}, "what was handed in is not changed"
    assert (chain.ports["enhanced"].channels, chain.ports["data.raw"].scale) == (3, 0.5)
