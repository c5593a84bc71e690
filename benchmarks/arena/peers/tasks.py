"""Two bilevel problems for every library, written with torch alone: variables, energies and rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

RADIUS = 0.01  # of finite differences


class Variables(nn.Module):
    """Parameters p0, p1, ...; calling it hands them, or what stands in for them, to a function."""

    def __init__(self, values: Sequence[Tensor]) -> None:
        super().__init__()
        self._count = len(values)
        for i, value in enumerate(values):
            self.register_parameter(f"p{i}", nn.Parameter(value.clone()))

    def values(self) -> tuple[Tensor, ...]:
        """Return what stands for the parameters now."""
        return tuple(getattr(self, f"p{i}") for i in range(self._count))

    def forward(self, function: Any) -> Any:
        """Return function(values)."""
        return function(self.values())


class Task:
    """A problem: theta above, omega below, plain SGD at both levels.

    Attributes:
        rates: of theta and of omega.
        products: most Hessian-vector products of `cg`, and of `neumann`.
        size: bytes of omega.
    """

    def __init__(
        self, theta: Sequence[Tensor], omega: Sequence[Tensor], rates: tuple[float, float], products: tuple[int, int]
    ) -> None:
        self.theta, self.omega = Variables(theta), Variables(omega)
        self.rates, self.products = rates, products
        self.size = sum(t.numel() * t.element_size() for t in omega)

    def optimizers(self) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
        """Return plain SGD for theta and omega."""
        above, below = (torch.optim.SGD(v.parameters(), lr=r) for v, r in zip(self.modules(), self.rates, strict=True))
        return above, below

    def modules(self) -> tuple[Variables, Variables]:
        """Return theta and omega."""
        return self.theta, self.omega

    def upper(self, theta: Sequence[Tensor], omega: Sequence[Tensor]) -> Tensor:
        """Return F_upper."""
        raise NotImplementedError

    def lower(self, theta: Sequence[Tensor], omega: Sequence[Tensor]) -> Tensor:
        """Return F_lower."""
        raise NotImplementedError


class Toy(Task):
    """Eq. 9 of LwCL with a = c = 2, from equal starts."""

    def __init__(self, n: int) -> None:
        start = torch.tensor(3.0, dtype=torch.float64)
        # One product is exact here, and the second would divide zero by zero where nothing guards against that.
        super().__init__([start], [start.expand(n)], (0.2 / (1 + n), 0.8), (1, 20))

    def upper(self, theta: Sequence[Tensor], omega: Sequence[Tensor]) -> Tensor:
        return (theta[0] - 2) ** 2 + (omega[0] - 4).square().sum()

    def lower(self, theta: Sequence[Tensor], omega: Sequence[Tensor]) -> Tensor:
        return torch.sin(theta[0] + omega[0] - 2).sum()


class Cleaning(Task):
    """Hyper-cleaning of digits by softmax regression: a weight for each of n training samples, half of them wrong."""

    def __init__(self, n: int) -> None:
        from sklearn.datasets import load_digits

        rng = np.random.default_rng(0)
        images, labels = load_digits(return_X_y=True)
        chosen = rng.permutation(len(labels))[: 2 * n]
        self._images = torch.from_numpy(images[chosen].astype(np.float32) / 16).split(n)
        labels = labels[chosen]
        labels[: n // 2] = (labels[: n // 2] + rng.integers(1, 10, n // 2)) % 10
        self._labels = torch.from_numpy(labels.astype(np.int64)).split(n)
        omega = [torch.zeros(10, 64), torch.zeros(10)]
        super().__init__([torch.zeros(n)], omega, (1.0, 0.3), (5, 5))

    def upper(self, theta: Sequence[Tensor], omega: Sequence[Tensor]) -> Tensor:
        # Some libraries cannot do without a direct term.
        return F.cross_entropy(self._scores(omega, 1), self._labels[1]) + 1e-6 * theta[0].square().mean()

    def lower(self, theta: Sequence[Tensor], omega: Sequence[Tensor]) -> Tensor:
        losses = F.cross_entropy(self._scores(omega, 0), self._labels[0], reduction="none")
        return (torch.sigmoid(theta[0]) * losses).mean()

    def _scores(self, omega: Sequence[Tensor], place: int) -> Tensor:
        return F.linear(self._images[place], omega[0], omega[1])


TASKS = {"toy": Toy, "cleaning": Cleaning}
