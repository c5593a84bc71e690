"""A small chain in float64, with counters, that the tests of the bilevel mathematics share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from support.level_pair import Chain, batch


@pytest.fixture(autouse=True)
def denormals() -> None:
    """Undo what a run in the same process set: the mathematics is tested down to the smallest numbers."""
    torch.set_flush_denormal(False)


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def make_batch() -> Callable[[int], tuple[Tensor, Tensor]]:
    return batch


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
