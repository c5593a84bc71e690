"""The numerical example of LwCL: a lower level of sines, with a known optimum for every size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from restore_hub.errors import OptionError

Variables = Mapping[str, Mapping[str, Tensor]]


class Sine:
    r"""The toy problem of LwCL Eq. 9, in float64.

    .. math::
        \min_\theta (\theta - a)^2 + |\omega - a - c|^2
        \quad\text{with}\quad \omega_i \in \arg\min \sin(\theta + \omega_i - c_i), \quad i = 1..n

    The optimum is theta* = ((1 - n) a + n C) / (1 + n), omega_i* = C + c - theta*, where C is the -pi/2 + 2 pi k
    nearest to 2 a, and F_upper* = (C - 2 a)^2 n / (1 + n). (For n = 1 the paper prints omega* = 3 pi/4 - 2; it should
    be 3 pi/4 + 2.)

    Blocks: `theta` (one number) and `omega` (n). Energies: `upper` and `lower`. The split `components` gives all
    components, as samples, at both levels (`share_batch: true`). Metrics: `theta_error` = |theta - theta*| / |theta*|,
    and `value_error`, the same for F_upper at the current theta and omega.

    Args:
        n: number of components of omega.
        a, c: as above; c is the same for all components.
        theta: the start of theta.
        omega: the start of omega's components, on average.
        spread: the components start evenly spaced from `omega - spread` to `omega + spread`; 0 starts all in one phase.

    Raises:
        OptionError: n is below 1, or the optimum is 0, so that there is no relative error.

    Reference:
        Learning with Constraint Learning (TPAMI 2024), Eq. 9.
    """

    metrics: ClassVar[Mapping[str, bool]] = {"theta_error": False, "value_error": False}

    def __init__(
        self, n: int = 100, a: float = 2.0, c: float = 2.0, theta: float = 3.0, omega: float = 3.0, spread: float = 0.0
    ) -> None:
        if n < 1:
            raise OptionError("numerical.not-a-count", "n", got=n)
        self._n, self._a, self._c = n, a, c
        start = omega + spread * torch.linspace(-1, 1, n, dtype=torch.float64) if n > 1 else torch.tensor([omega])
        self.blocks = nn.ModuleDict({"theta": _vector(torch.tensor([theta])), "omega": _vector(start)})
        self.energies = {"upper": self._upper, "lower": self._lower}
        self.splits = {"components": n}
        C = -math.pi / 2 + 2 * math.pi * round((2 * a + math.pi / 2) / (2 * math.pi))
        self.theta_star = ((1 - n) * a + n * C) / (1 + n)
        self.value_star = (C - 2 * a) ** 2 * n / (1 + n)
        if self.theta_star == 0 or self.value_star == 0:
            raise OptionError("numerical.optimum-at-zero", "a", got=a)

    def batch(self, split: str, seed: int, index: int) -> dict[str, Tensor]:  # noqa: ARG002  every one is the same
        """Return the components' numbers, (n,) int64; every batch is the same."""
        return {"component": torch.arange(self.splits[split])}

    def measure(self) -> dict[str, float]:
        """Return the errors in theta and in F_upper."""
        theta, omega = (self.blocks[name].value.detach().double() for name in ("theta", "omega"))
        value = (theta - self._a).square().sum() + (omega - self._a - self._c).square().sum()
        return {
            "theta_error": abs(theta.item() / self.theta_star - 1),
            "value_error": abs(value.item() / self.value_star - 1),
        }

    def _upper(self, variables: Variables, batch: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        theta, omega = variables["theta"]["value"], variables["omega"]["value"][batch["component"]]
        # Each component has its share of (theta - a)^2, so that the parts of a batch add up.
        own = (theta - self._a).square() / self._n
        return self._n * ((omega - self._a - self._c).square() + own).sum(), len(omega)

    def _lower(self, variables: Variables, batch: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        theta, omega = variables["theta"]["value"], variables["omega"]["value"][batch["component"]]
        return self._n * torch.sin(theta + omega - self._c).sum(), len(omega)


def _vector(value: Tensor) -> nn.Module:
    module = nn.Module()
    module.register_parameter("value", nn.Parameter(value.double()))
    return module
