"""A block as a copy that holds other tensors: what it shares with the block, and what it takes along."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from restore_hub.plan.twin import twin
from restore_hub_retinex.networks import Illumination

grad = torch.autograd.grad


class Bent(nn.Module):
    """tanh(W x) twice, with tied and with own weights; `change` says how a test's block calls or holds them."""

    def __init__(self, change: Callable[[Bent], object] = lambda _: None) -> None:
        super().__init__()
        self.first, self.last = (nn.Linear(3, 3, dtype=torch.float64) for _ in range(2))
        change(self)

    def bend(self, x: Tensor) -> Tensor:
        return torch.tanh(self.last(torch.tanh(self.first(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.bend(x)


def _recomputed(block: Bent) -> None:
    block.forward = lambda x: checkpoint(block.bend, x, use_reentrant=False)


def _recomputed_closure(block: Bent) -> None:
    def inside(x: Tensor) -> Tensor:
        return torch.tanh(linear(torch.tanh(block.first(x)), block.last.weight, block.last.bias))

    block.forward = partial(checkpoint, inside, use_reentrant=False)


def _in_sequence(block: Bent) -> None:
    layers = nn.Sequential(block.first, nn.Tanh(), block.last, nn.Tanh())
    block.forward = lambda x: checkpoint_sequential(layers, 2, x, use_reentrant=False)
    block.layers = layers


def _wrapped_method(block: Bent) -> None:
    block.forward = lambda x, plain=block.forward: checkpoint(plain, x, use_reentrant=False)


class _Reading(torch.autograd.Function):
    """W x + b, whose backward pass reads W from the module."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: nn.Linear) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x)
        return linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return g @ ctx.layer.weight, g.T @ x, g.sum(0), None


def _reading_in_backward(block: Bent) -> None:
    def forward(x: Tensor) -> Tensor:
        read = [_Reading.apply(x, block.first.weight, block.first.bias, block.first)]
        return torch.tanh(_Reading.apply(torch.tanh(read[0]), block.last.weight, block.last.bias, block.last))

    block.forward = forward


def _listed(block: Bent) -> None:
    block.both = [block.first, block.last]
    block.forward = lambda x: torch.tanh(block.both[1](torch.tanh(block.both[0](x))))


def _held_tensors(block: Bent) -> None:
    object.__setattr__(block, "weight", block.first.weight)
    block.held = {"last": (block.last.weight, [block.last.bias])}

    def forward(x: Tensor) -> Tensor:
        weight, (bias,) = block.held["last"]
        return torch.tanh(linear(torch.tanh(linear(x, block.weight, block.first.bias)), weight, bias))

    block.forward = forward


def _hooked(block: Bent) -> None:
    block.first.register_forward_hook(lambda _m, _x, y: torch.tanh(y) + 0 * block.last.weight.sum())
    block.forward = lambda x: torch.tanh(block.last(block.first(x)))


def _full_circle(block: Bent) -> None:
    block.circle = [block.bend]
    block.circle.append(block.circle)
    block.forward = lambda x: block.circle[0](x)


CHANGES = [
    lambda _: None, _recomputed, _recomputed_closure, _in_sequence, _wrapped_method, _reading_in_backward, _listed,
    _held_tensors, _hooked, _full_circle,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_value_and_gradients_are_those_of_a_block_with_the_other_weights(change: Callable[[Bent], object]) -> None:
    """Other weights than the block's own, in the forward and in the backward pass."""
    torch.manual_seed(0)
    block, x = Bent(change), torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    own = [parameter.detach().clone() for parameter in block.parameters()]
    other = {p: (1.5 * p.detach() + 0.1).requires_grad_() for p in block.parameters()}
    value = twin(block, other)(x)
    found = grad(value.square().sum(), [x, *other.values()])
    assert [parameter.grad for parameter in block.parameters()] == [None] * 4
    assert all(torch.equal(p, before) for p, before in zip(block.parameters(), own, strict=True))
    plain = Bent()
    with torch.no_grad():
        for parameter, tensor in zip(plain.parameters(), other.values(), strict=True):
            parameter.copy_(tensor)
    expected = plain(x)
    torch.testing.assert_close(value, expected, rtol=1e-13, atol=0)
    exact = grad(expected.square().sum(), [x, *plain.parameters()])
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("change", [_recomputed, _recomputed_closure, _in_sequence])
def test_several_twins_recompute_each_with_its_own_weights(change: Callable[[Bent], object]) -> None:
    """Two steps of gradient descent in one graph, differentiated: recomputation in the first and second derivatives."""
    torch.manual_seed(1)
    found = []
    for block in (Bent(), Bent(change)):
        torch.manual_seed(2)
        x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
        at = tuple(torch.randn(p.shape, dtype=torch.float64).requires_grad_() for p in block.parameters())
        start = at
        for _ in range(2):
            energy = twin(block, dict(zip(block.parameters(), at, strict=True)))(x).square().sum()
            steps = grad(energy, at, create_graph=True)
            at = tuple(w - 0.3 * g for w, g in zip(at, steps, strict=True))
        end = twin(block, dict(zip(block.parameters(), at, strict=True)))(x).sum()
        found.append(grad(end, (x, *start)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-10, atol=1e-13)


def test_tied_parameters_and_modules_under_two_names_are_replaced_everywhere() -> None:
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    network[1].weight = network[0].weight
    x = torch.randn(1, 2)
    assert torch.allclose(twin(network, {network[0].weight: 2 * network[0].weight.detach()})(x), 4 * network(x))
    shared = Illumination().eval()  # registers modules under two names
    image = torch.rand(1, 3, 8, 8)
    replaced = twin(shared, {p: 1.1 * p.detach() for p in shared.parameters()})(image)[0]
    with torch.no_grad():
        for parameter in shared.parameters():
            parameter.mul_(1.1)
    assert torch.equal(replaced, shared(image)[0])


def test_a_recurrent_layer_lists_its_weights() -> None:
    layer = nn.GRU(2, 3, dtype=torch.float64)
    x = torch.randn(4, 1, 2, dtype=torch.float64)
    other = {p: 2 * p.detach() for p in layer.parameters()}
    plain = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.mul_(2)
    torch.testing.assert_close(twin(layer, other)(x)[0], plain(x)[0])


@pytest.mark.parametrize("own", [False, True])
def test_buffers_are_shared_or_its_own(own: bool) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(2)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls = self.calls + 1  # another tensor, not in place
            return self.norm(x)

    block = Counting()
    before = {name: buffer.clone() for name, buffer in block.named_buffers()}
    twin(block, {block.norm.weight: torch.ones(2)}, own_buffers=own)(torch.randn(5, 2))
    same = {name: torch.equal(buffer, before[name]) for name, buffer in block.named_buffers()}
    assert len(same) == 4
    assert set(same.values()) == {own}


def test_what_leads_to_no_module_is_shared() -> None:
    block = Bent()
    seen: list[Tensor] = []
    block.notes = {"seen": seen, "grid": torch.zeros(2)}
    block.register_forward_hook(lambda _m, _x, y: seen.append(y))
    copied = twin(block, {block.first.weight: torch.ones(3, 3, dtype=torch.float64)})
    copied(torch.zeros(1, 3, dtype=torch.float64))
    assert len(seen) == 1
    assert copied.notes is block.notes
    assert copied.last.weight is block.last.weight


def test_compiled_blocks_are_compiled_once() -> None:
    compiled: list[int] = []

    def backend(graph: Any, _inputs: Any) -> Any:
        compiled.append(1)
        return graph

    block = Bent()
    expected = Bent()
    block.compile(backend=backend, fullgraph=True)
    x = torch.randn(2, 3, dtype=torch.float64)
    for factor in (2.0, 3.0, 4.0):
        tensors = [torch.full_like(p, factor / 10) for p in block.parameters()]
        value = twin(block, dict(zip(block.parameters(), tensors, strict=True)))(x)
        other = dict(zip(expected.parameters(), tensors, strict=True))
        torch.testing.assert_close(value, twin(expected, other)(x))
    assert compiled == [1]
