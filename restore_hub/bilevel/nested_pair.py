"""Three levels and more: a lower level that is itself differentiated through the one below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from restore_hub.bilevel.coupling import couple
from restore_hub.bilevel.reduction import reduction_of
from restore_hub.bilevel.vectors import Tensors
from restore_hub.contracts import LevelPair, Solver


class NestedPair:
    r"""A pair whose lower level has a level below, as a pair like any other.

    With levels 1, 2, 3 and variables theta, omega, w, level 2 steps along its hypergradient through level 3:

    .. math::
        \tilde F_{lower}(x, \omega) = F_{lower}(x, \omega; w) + \langle r, \omega \rangle, \qquad
        r = \Big(\frac{d w}{d \omega}\Big)^T \frac{\partial F_{lower}(x, \omega; w)}{\partial w}

    r, the response of level 3 alone, and w are constants, renewed before each lower step (`settle`), so any solver of
    two levels steps omega along the whole gradient and differentiates theta through it. As r holds nothing of the
    partial derivative by omega, dropout in F_lower adds no noise to the step but its own. The response of level 1
    leaves out how r and w follow theta and omega: a level is differentiated through the next one only. At a stationary
    point, level 2 is stationary with level 3's response, which is exact if its solver's is.

    The value of the energy is that of F_lower. There are no groups, as r isn't a sum over them.

    Args:
        pair: levels 1 and 2, whose energies read w where it is.
        move: of (x, batch), moves the levels below omega and returns their response r.
    """

    def __init__(self, pair: LevelPair, move: Callable[[Tensors, Any], Tensors]) -> None:
        self._pair, self._move = pair, move
        self.theta, self.omega = pair.theta, pair.omega
        self.theta_names, self.omega_names = pair.theta_names, pair.omega_names
        self.reduction = reduction_of(pair)
        self._response: Tensors = ()

    def couple(self, batch: Any) -> tuple[Tensor, ...]:
        """Return x, as the pair does."""
        return self._pair.couple(batch)

    def couple_lower(self, batch: Any) -> tuple[Tensor, ...]:
        """Return x of a batch of the lower level, as the pair does."""
        return couple(self._pair, batch, "lower")

    def settle(self, x: Tensors, batch: Any) -> None:
        """Move the levels below, and renew r."""
        self._response = self._move(x, batch)

    def upper(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Any) -> Tensor:
        """Return F_upper(x, omega; w) on a batch."""
        return self._pair.upper(x, omega, batch)

    def lower(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Any) -> Tensor:
        """Return F_lower(x, omega; w) on a batch, with <r, omega> in its gradient but not in its value."""
        value = self._pair.lower(x, omega, batch)
        if not self._response:
            return value
        linear = torch.stack([(r * w).sum() for r, w in zip(self._response, omega, strict=True)]).sum()
        return value + (linear - linear.detach())


def evaluations(solvers: Sequence[Solver], steps: Sequence[int]) -> int:
    """Return the number of energy gradients in one outer step of nested levels.

    Args:
        solvers: of each pair of adjacent levels, upper first; or that of the only level.
        steps: of each level for each step of the one above, without the first.
    """
    count = solvers[-1].evaluations(steps[-1])
    for solver, own in zip(reversed(solvers[:-1]), reversed(steps[:-1]), strict=True):
        count = solver.evaluations(own) + own * count
    return count
