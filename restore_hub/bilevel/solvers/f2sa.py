"""First derivatives only: two copies of the lower level, one of them pulled by the upper energy."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, optim

from restore_hub.bilevel.apply import apply, release
from restore_hub.bilevel.coupling import couple_levels, coupled
from restore_hub.bilevel.gradients import evaluate
from restore_hub.bilevel.outer import Pull, step_upper
from restore_hub.bilevel.solvers.state import Logs, State, new_state, report
from restore_hub.bilevel.vectors import Tensors
from restore_hub.contracts import Batches, LevelPair
from restore_hub.errors import OptionError


def _no_memory() -> defaultdict[Tensor, Any]:
    return defaultdict(dict)


@dataclass
class F2saState(State):
    """The state of `F2sa`.

    Attributes:
        variables: omega.
        copy: y, shaped like omega; empty after a restart, and then starts at omega.
        memory: the lower optimizer's state for y.
    """

    variables: Tensors = ()
    copy: Tensors = ()
    memory: defaultdict[Tensor, Any] = field(default_factory=_no_memory)

    def restart(self) -> None:
        """Drop y, because omega was reset."""
        self.copy, self.memory = (), _no_memory()

    @contextmanager
    def copy_in_place(self) -> Iterator[optim.Optimizer]:
        """Let the lower optimizer, with its settings and hooks, hold y in place of omega."""
        optimizer, places = self.optimizers[1], tuple(w.data for w in self.variables)
        optimizer.state, self.memory = self.memory, optimizer.state
        for w, y in zip(self.variables, self.copy, strict=True):
            w.data = y
        try:
            yield optimizer
        finally:
            optimizer.state, self.memory = self.memory, optimizer.state
            for w, place in zip(self.variables, places, strict=True):
                w.data = place

    def state_dict(self) -> dict[str, Any]:
        """Return plain containers of tensors and numbers, for `torch.save`."""
        saved = {**super().state_dict(), "copy": [y.clone() for y in self.copy]}
        if self.copy:
            with self.copy_in_place() as optimizer:
                saved["memory"] = optimizer.state_dict()["state"]
        return saved

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned; the run continues as if it hadn't stopped."""
        super().load_state_dict(saved)
        self.restart()
        self.copy = tuple(y.to(w, copy=True) for y, w in zip(saved["copy"], self.variables, strict=False))
        if self.copy:
            with self.copy_in_place() as optimizer:
                groups = optimizer.state_dict()["param_groups"]
                optimizer.load_state_dict({"state": saved["memory"], "param_groups": groups})


class F2sa:
    r"""k steps of two copies of the lower level, one of them pulled by F_upper (fully first-order approximation).

    .. math::
        \omega' = \omega - \eta \, \partial_\omega F_{lower}(x, \omega), \qquad
        y' = y - \eta \, \partial_\omega [F_{lower}(x, y) + F_{upper}(x, y) / \lambda] \\
        R = \lambda \, [\partial_x F_{lower}(x, y) - \partial_x F_{lower}(x, \omega)], \qquad
        G = \frac{dF_{upper}}{d\theta}(y) + \Big(\frac{\partial x}{\partial \theta}\Big)^T R

    Sign: R is added to dF_upper/dx, which is taken at y. Symmetry: y - omega = -H^-1 g_u / lambda + O(1 / lambda^2), so
    R is a difference quotient of the implicit response. There is no damping and no second derivative: instead of
    solving a linear system, y and omega follow theta from step to step, so one lower step for each upper one is enough
    if theta moves slowly. G has a bias of O(1 / lambda), and its error from a lag that y and omega don't share grows
    with lambda: raise lambda together with the lower steps, or with a smaller upper learning rate.

    Works with any torch optimizer at either level. The lower one steps both copies, with a state of its own for y; with
    Adam, whose steps don't shrink with the gradient, its jitter drives the copies apart. Needs memory for another copy
    of omega and of the optimizer's state. Energies are evaluated in at least float32, inside autocast too, because the
    difference of the copies is what counts. `loss/upper` is F_upper at y; omega remains the minimiser of F_lower alone.

    Preferred to BOME (Liu et al., NeurIPS 2022), the other method of this kind: BOME's multiplier is a ratio of inner
    products of theta's gradients, so it needs each gradient separately, with two backward passes through the upper
    block instead of one.

    Cost: 3 k + 3 gradients, none through the upper block.

    Args:
        penalty: lambda > 0, in units of F_upper over F_lower. On the toy problem of LwCL Eq. 9 the error in theta is
            about 0.14 / lambda.

    Reference:
        Kwon et al., A Fully First-Order Method for Stochastic Bilevel Optimization, ICML 2023, Alg. 1; at a fixed
        lambda as in Chen et al., Near-Optimal Nonconvex-Strongly-Convex Bilevel Optimization with Fully First-Order
        Oracles, 2023, where both energies are smooth and F_lower is strongly convex.
    """

    levels = 2
    responds = True
    parallel = True

    def __init__(self, penalty: float = 10.0) -> None:
        if not 0 < penalty < math.inf:
            raise OptionError("bilevel.not-positive", "penalty", got=penalty)
        self.penalty = penalty

    def init(self, pair: LevelPair, optimizers: Sequence[optim.Optimizer]) -> F2saState:
        """Return the state; BilevelError if an optimizer doesn't hold its level's variables."""
        state = new_state(optimizers, (pair.theta, pair.omega))
        return F2saState(state.optimizers, variables=pair.omega)

    def step(self, pair: LevelPair, state: F2saState, batches: Batches) -> tuple[F2saState, Logs]:
        """Take `batches.steps` lower steps of both copies and one upper step."""
        state.copy = state.copy or tuple(w.detach().clone() for w in pair.omega)
        device = pair.omega[0].device.type
        x_upper, x_lower = levels = couple_levels(pair, batches)
        for x, batch in coupled(pair, batches, graphs=0, levels=levels):
            with torch.autocast(device, enabled=False):
                below = self._step_both(pair, state, x, batch, x_upper, batches.upper)
        release(pair.omega)
        with torch.autocast(device, enabled=False):
            above = evaluate(pair, "upper", x_upper, state.copy, batches.upper, optional=("x",))
            drawn = evaluate(pair, "lower", x, state.copy, batch, wrt=("x",))
            free = evaluate(pair, "lower", x, pair.omega, batch)
        # R = lambda (dF_lower/dx (y) - dF_lower/dx (omega))
        response = tuple(self.penalty * (d - f) for d, f in zip(drawn.x, free.x, strict=True))
        step_upper(pair, state.optimizers[0], Pull(x_upper, above.x), Pull(x_lower, response))
        return state, report(pair, below, free.omega, above, response)

    def _step_both(
        self, pair: LevelPair, state: F2saState, x: Tensors, batch: Any, x_upper: Tensors, upper: Any
    ) -> Tensor:
        """Step y and omega on the same batch; return F_lower at omega before it."""
        drawn = evaluate(pair, "lower", x, state.copy, batch, wrt=("omega",))
        above = evaluate(pair, "upper", x_upper, state.copy, upper, wrt=("omega",))
        below = evaluate(pair, "lower", x, pair.omega, batch, wrt=("omega",))
        # g_l(y) + g_u(y) / lambda
        mixed = tuple(low + up / self.penalty for low, up in zip(drawn.omega, above.omega, strict=True))
        with state.copy_in_place() as optimizer:
            apply(optimizer, pair.omega, mixed)
        apply(state.optimizers[1], pair.omega, below.omega)
        return below.value

    def evaluations(self, lower_steps: int) -> int:
        """Return 3 k + 3: three for each step of both copies, F_upper's at y, and F_lower's at y and at omega."""
        return 3 * lower_steps + 3
