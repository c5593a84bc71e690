"""A small chain in float64, with counters, that the tests of the bilevel mathematics share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F


@pytest.fixture(autouse=True)
def denormals() -> None:
    """Undo what a run in the same process set: the mathematics is tested down to the smallest numbers."""
    torch.set_flush_denormal(False)


class Chain:
    """Batch (z, y): hidden = tanh(z W + b) above, a nonlinear head on hidden * late below.

    `late` is a variable of the upper level that only the energies use, so `couple` returns the leaf itself.
    """

    theta_names = ("W", "b", "late")
    omega_names = ("V", "d")

    def __init__(self, seed: int = 0) -> None:
        g = torch.Generator().manual_seed(seed)
        shapes = ((3, 4), (4,), (4,)), ((4, 2), (2,))
        self.theta, self.omega = (
            tuple(torch.randn(s, generator=g, dtype=torch.float64).requires_grad_() for s in level) for level in shapes
        )
        self.forwards: list[bool] = []  # for each run of `couple`, whether it kept a graph
        self.backwards = 0

    def couple(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        hidden = torch.tanh(batch[0] @ self.theta[0] + self.theta[1])
        self.forwards.append(hidden.requires_grad)
        if hidden.requires_grad:
            hidden.register_hook(self._count)
        return hidden, self.theta[2]

    def _count(self, _: Tensor) -> None:
        self.backwards += 1

    def upper(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: tuple[Tensor, Tensor]) -> Tensor:
        return (F.softplus((x[0] * x[1]) @ omega[0] + omega[1]) - batch[1]).square().mean() + 0.1 * x[0].square().sum()

    def lower(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: tuple[Tensor, Tensor]) -> Tensor:
        fit = (torch.sigmoid((x[0] * x[1]) @ omega[0] + omega[1]) - 0.3 * batch[1]).square().sum()
        return fit + 0.05 * sum(w.square().sum() for w in omega)


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def make_batch() -> Callable[[int], tuple[Tensor, Tensor]]:
    def make(seed: int) -> tuple[Tensor, Tensor]:
        g = torch.Generator().manual_seed(100 + seed)
        return (torch.randn(5, 3, generator=g, dtype=torch.float64), torch.rand(5, 2, generator=g, dtype=torch.float64))

    return make


@pytest.fixture
def quadratic() -> Any:
    """F_lower = w'Aw/2 - x'Bw, F_upper = |w - e|^2/2 + x'Dx/2, x = theta: every derivative in closed form."""

    class Quadratic:
        theta_names, omega_names = ("theta",), ("omega",)

        def __init__(self) -> None:
            g = torch.Generator().manual_seed(3)

            def draw(*shape: int) -> Tensor:
                return torch.randn(*shape, generator=g, dtype=torch.float64)

            root = draw(4, 4)
            self.A = root @ root.T + 0.1 * torch.eye(4, dtype=torch.float64)
            self.B, self.D, self.e = draw(3, 4), torch.diag(draw(3).abs()), draw(4)
            self.theta, self.omega = (draw(3).requires_grad_(),), (draw(4).requires_grad_(),)

        def couple(self, _: Any) -> tuple[Tensor, ...]:
            return self.theta

        def upper(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], _: Any) -> Tensor:
            return 0.5 * (omega[0] - self.e).square().sum() + 0.5 * x[0] @ self.D @ x[0]

        def lower(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], _: Any) -> Tensor:
            return 0.5 * omega[0] @ self.A @ omega[0] - x[0] @ self.B @ omega[0]

    return Quadratic()
