from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, optim

from restore_hub.bilevel import check_supported, preconditioner
from support import refused
from support.level_pair import leaves


def take_steps(optimizer: optim.Optimizer, omega: tuple[Tensor, ...], steps: int) -> None:
    g = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for w in omega:
            w.grad = torch.randn(w.shape, generator=g, dtype=torch.float64)
        optimizer.step()


def test_sgd_has_each_group_its_own_rate() -> None:
    a, b = leaves(0, (3, 2), (4,))
    optimizer = optim.SGD([{"params": [b], "lr": 0.5}, {"params": [a]}], lr=0.25, weight_decay=0.1)
    assert [p.item() for p in preconditioner(optimizer, (a, b))] == [0.25, 0.5]


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("kind", [optim.Adam, optim.AdamW])
def test_adam_without_first_moment_moves_by_minus_p_times_the_gradient(kind: Any, steps: int) -> None:
    """With beta1 = 0 the step is omega' - omega = -P g to the last digit, which pins lr, v_hat and eps."""
    omega = leaves(0, (3, 2), (4,))
    groups = [{"params": [omega[0]], "lr": 0.3, "eps": 0.2}, {"params": [omega[1]], "lr": 0.1, "eps": 1e-3}]
    optimizer = kind(groups, betas=(0.0, 0.9), weight_decay=0.0)
    take_steps(optimizer, omega, steps - 1)
    before = [w.detach().clone() for w in omega]
    for w in omega:
        w.grad = torch.linspace(-1, 2, w.numel(), dtype=torch.float64).reshape(w.shape)
    optimizer.step()
    for w, old, p in zip(omega, before, preconditioner(optimizer, omega), strict=True):
        torch.testing.assert_close(w.detach() - old, -p * w.grad, rtol=1e-11, atol=1e-14)


def test_adam_before_its_first_step_is_refused() -> None:
    omega = leaves(0, (3, 2), (4,))
    with refused("bilevel.no-step-yet", "Adam"):
        preconditioner(optim.Adam(omega), omega)


@pytest.mark.parametrize(
    ("kind", "options", "code", "facts"),
    [
        (optim.SGD, {"lr": 0.1, "momentum": 0.9}, "lower-setting", {"setting": "momentum", "got": 0.9}),
        (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}, "lower-setting", {"setting": "momentum"}),
        (optim.SGD, {"lr": 0.1, "maximize": True}, "lower-setting", {"setting": "maximize"}),
        (optim.Adam, {"amsgrad": True}, "lower-setting", {"setting": "amsgrad"}),
        (optim.RMSprop, {"lr": 0.1}, "lower-optimizer", {"method": "tbgl"}),
    ],
)
def test_optimizers_with_no_known_diagonal(
    kind: Any, options: dict[str, Any], code: str, facts: dict[str, Any]
) -> None:
    with refused(f"bilevel.{code}", kind.__name__, **facts):
        check_supported(kind(leaves(0, (3, 2), (4,)), **options))
