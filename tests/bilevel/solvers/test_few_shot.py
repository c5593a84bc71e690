"""A lower level that begins at theta: omega is the way from there, reverse mode the gradient of few-shot learning."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, optim

from restore_hub.bilevel import Start
from restore_hub.bilevel.solvers import Rhg
from restore_hub.contracts import Batches

RATE = 0.1
STEPS = 4


def test_reverse_mode_through_the_way_from_theta_is_the_gradient_of_few_shot_learning(chain: Any) -> None:
    g = torch.Generator().manual_seed(5)
    few, many = (torch.randn(2, 6, 3, generator=g, dtype=torch.float64) for _ in range(2))

    def loss(weights: Tensor, data: Tensor) -> Tensor:
        return torch.tanh(data[0] @ weights).sub(data[1].sum(1)).square().mean()

    theta = torch.randn(3, generator=g, dtype=torch.float64).requires_grad_()
    adapted = theta
    for _ in range(STEPS):
        (slope,) = torch.autograd.grad(loss(adapted, few), adapted, create_graph=True)
        adapted = adapted - RATE * slope
    (exact,) = torch.autograd.grad(loss(adapted, many), theta)

    chain.theta, chain.theta_names = (theta,), ("start",)
    chain.omega, chain.omega_names = (torch.zeros_like(theta, requires_grad=True),), ("way",)
    chain.couple = lambda _: chain.theta
    chain.upper = chain.lower = lambda x, omega, data: loss(x[0] + omega[0], data)
    optimizers = [optim.SGD(chain.theta, lr=0.0), optim.SGD(chain.omega, lr=RATE)]
    solver, start = Rhg(), Start(optimizers[1])
    state = solver.init(chain, optimizers)
    for _ in range(2):  # the second task begins where the first one did
        start.restore(state)
        solver.step(chain, state, Batches(many, [few], STEPS))
        torch.testing.assert_close(theta.grad, exact, rtol=1e-12, atol=1e-14)
