"""A gradient handed to an optimizer: the short way for bare SGD is its own step, and no hook is passed over."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import optim
from torch.optim.optimizer import register_optimizer_step_post_hook

from restore_hub.bilevel import apply
from support.level_pair import leaves

SHAPES = ((3, 2), (4,), ())


def shorten(optimizer: optim.Optimizer, *_: Any) -> None:
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 0.1)


@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": 0.5}, {"momentum": 0.5, "nesterov": True}, {"weight_decay": 0.1}, {"maximize": True}],
    ids=lambda options: " ".join(options) or "bare",
)
def test_every_sgd_steps_as_torch_steps_it(options: dict[str, Any]) -> None:
    ours, theirs = leaves(0, *SHAPES), leaves(0, *SHAPES)
    own, other = (
        optim.SGD(ours, lr=torch.tensor(0.3, dtype=torch.float64), **options),
        optim.SGD(theirs, lr=0.3, **options),
    )
    places = [w.data_ptr() for w in ours]
    for step in range(3):
        gradient = tuple(torch.sin(w.detach() + step) for w in ours)
        apply(own, ours, gradient)
        for w, g in zip(theirs, gradient, strict=True):
            w.grad = g
        other.step()
        assert all(w.grad is g for w, g in zip(ours, gradient, strict=True))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert [w.data_ptr() for w in ours] == places


def test_groups_have_rates_of_their_own() -> None:
    ours = leaves(0, *SHAPES)
    before = [w.detach().clone() for w in ours]
    optimizer = optim.SGD([{"params": ours[:1], "lr": 0.5}, {"params": ours[1:], "lr": 0.25}], lr=1.0)
    apply(optimizer, ours, tuple(torch.ones_like(w) for w in ours))
    for w, old, rate in zip(ours, before, (0.5, 0.25, 0.25), strict=True):
        torch.testing.assert_close(w.detach(), old - rate, rtol=0, atol=0)


def test_hooks_schedulers_and_subclasses_are_heard() -> None:
    class Halved(optim.SGD):
        def step(self, closure: Any = None) -> Any:
            heard.append("own")
            return super().step(closure)

    heard: list[str] = []
    ours = leaves(0, *SHAPES)
    gradient = tuple(torch.ones_like(w) for w in ours)
    optimizer = optim.SGD(ours, lr=0.1)
    optimizer.register_step_pre_hook(lambda *_: heard.append("before"))
    apply(optimizer, ours, gradient)
    optimizer = optim.SGD(ours, lr=0.1)
    optimizer.register_step_post_hook(lambda *_: heard.append("after"))
    apply(optimizer, ours, gradient)
    apply(Halved(ours, lr=0.1), ours, gradient)
    everywhere = register_optimizer_step_post_hook(lambda *_: heard.append("any"))
    apply(optim.SGD(ours, lr=0.1), ours, gradient)
    everywhere.remove()
    assert heard == ["before", "after", "own", "any"]
    optimizer = optim.SGD(ours, lr=0.1)
    scheduler = optim.lr_scheduler.StepLR(optimizer, 1)
    apply(optimizer, ours, gradient)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()  # warns where no step was seen


def test_a_gradient_that_is_one_number_for_all_entries_is_clipped() -> None:
    """As that of a sum, in which no entry can be changed alone."""
    ours, theirs = (torch.arange(3.0, dtype=torch.float64).requires_grad_() for _ in range(2))

    for each, own in ((ours, True), (theirs, False)):
        optimizer = optim.SGD([each], lr=0.1)
        optimizer.register_step_pre_hook(shorten)
        (gradient,) = torch.autograd.grad(each.sum(), each)
        assert gradient.stride() == (0,)
        apply(optimizer, (each,), (gradient if own else gradient.clone(),))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("options", [{"foreach": True}, {"foreach": False}], ids=["foreach", "one by one"])
def test_one_gradient_of_two_variables_is_changed_once_for_each(options: dict[str, Any]) -> None:
    """Nesterov's momentum and clipping write into `.grad`; autograd gives summed variables the very same gradient."""
    ours = tuple(torch.full((3,), v, dtype=torch.float64).requires_grad_() for v in (0.5, 0.1))
    theirs = tuple(w.detach().clone().requires_grad_() for w in ours)
    pairs = []

    for each in (ours, theirs):
        optimizer = optim.SGD(each, lr=0.1, momentum=0.9, nesterov=True, **options)
        optimizer.register_step_pre_hook(shorten)
        pairs.append((optimizer, each))
    for _ in range(3):
        for optimizer, (a, b) in pairs:
            first, second = torch.autograd.grad((a + b).square().sum(), (a, b))
            assert first.data_ptr() == second.data_ptr()
            apply(optimizer, (a, b), (first, second if optimizer is pairs[0][0] else second.clone()))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
