"""The written-out steps against torch's own, and their derivatives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import optim

from restore_hub.bilevel import check_differentiable, keep, recall, update
from support import refused
from support.level_pair import draw, leaves

KINDS = [
    lambda p: optim.SGD(p, lr=0.1),
    lambda p: optim.SGD(p, lr=0.1, weight_decay=0.3),
    lambda p: optim.SGD(p, lr=0.1, momentum=0.8, dampening=0.4, weight_decay=0.1),
    lambda p: optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True),
    lambda p: optim.Adam(p, lr=0.1, betas=(0.8, 0.95), eps=1e-3),
    lambda p: optim.Adam(p, lr=0.1, weight_decay=0.2),
    lambda p: optim.AdamW(p, lr=0.1, weight_decay=0.2),
    lambda p: optim.Adam([{"params": p[:1], "lr": 0.02}, {"params": p[1:]}], lr=0.3),
]


SHAPES = ((3, 2), (2,))


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_those_of_torch_and_the_two_take_turns(kind: Any) -> None:
    theirs, ours = leaves(0, *SHAPES), leaves(0, *SHAPES)
    other, optimizer = kind(theirs), kind(ours)
    for step in range(9):
        for w, g in zip(theirs, draw(10 + step, *SHAPES), strict=True):
            w.grad = g.clone()
        other.step()
        if step % 3 == 2:  # in place, from the memory that the written-out steps left
            for w, g in zip(ours, draw(10 + step, *SHAPES), strict=True):
                w.grad = g.clone()
            optimizer.step()
        else:
            memory = recall(optimizer, ours)
            before = [w.detach().clone() for w in ours]
            stepped, memory = update(optimizer, ours, ours, draw(10 + step, *SHAPES), memory)
            torch.testing.assert_close([w.detach() for w in ours], before, rtol=0, atol=0)
            for w, new in zip(ours, stepped, strict=True):
                w.data.copy_(new)
            keep(optimizer, ours, memory)
        torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_through_two_steps_agree_with_finite_differences(kind: Any) -> None:
    """Derivatives by omega and by the gradient of the first step, which the second step remembers."""
    own, second = leaves(0, *SHAPES), draw(11, *SHAPES)
    optimizer = kind(own)

    def result(*point: torch.Tensor) -> torch.Tensor:
        omega, memory = update(optimizer, own, point[:2], point[2:], recall(optimizer, own))
        pulled = tuple(g + 0.3 * w for g, w in zip(second, omega, strict=True))
        omega, _ = update(optimizer, own, omega, pulled, memory)
        return torch.cat([w.flatten() for w in omega])

    point = tuple(t.detach().clone().requires_grad_() for t in (*own, *draw(10, *SHAPES)))
    assert torch.autograd.gradcheck(result, point, eps=1e-6, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gradient_of_zero_has_a_finite_derivative_through_adam(dtype: torch.dtype) -> None:
    w = (torch.zeros(2, dtype=dtype, requires_grad=True),)
    scale = torch.tensor(1.0, dtype=dtype, requires_grad=True)
    optimizer, g = optim.Adam(w, lr=0.1), (scale * torch.tensor([0.0, 2.0], dtype=dtype),)
    omega, memory = update(optimizer, w, w, g, recall(optimizer, w))
    omega, _ = update(optimizer, w, omega, g, memory)
    (found,) = torch.autograd.grad(omega[0].sum(), scale)
    assert found.isfinite()


@pytest.mark.parametrize(
    ("kind", "code", "place", "facts"),
    [
        (lambda p: optim.RMSprop(p), "lower-optimizer", "RMSprop", {}),
        (lambda p: type("Mine", (optim.SGD,), {})(p, lr=0.1), "lower-optimizer", "Mine", {}),
        (lambda p: optim.Adam(p, amsgrad=True), "lower-setting", "Adam", {"setting": "amsgrad"}),
        (lambda p: optim.SGD(p, lr=0.1, maximize=True), "lower-setting", "SGD", {"setting": "maximize"}),
        (lambda p: optim.SGD([{"params": p, "clip": 2.0}], lr=0.1), "lower-setting", "SGD", {"got": 2.0}),
    ],
)
def test_optimizers_with_no_known_derivative(kind: Any, code: str, place: str, facts: dict[str, Any]) -> None:
    with refused(f"bilevel.{code}", place, **facts):
        check_differentiable(kind(leaves(0, *SHAPES)))


def test_settings_that_matter_not_are_accepted() -> None:
    for kind in KINDS:
        check_differentiable(kind(leaves(0, *SHAPES)))
