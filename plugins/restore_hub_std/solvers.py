"""The solvers: one outer step each, assembled from `restore_hub.bilevel`.

Notation: theta, F_upper above; omega, F_lower below; x = couple(batch) between them. In every two-level solver
the lower steps run on x detached and in place, and the upper block runs backward once, with all cotangents.

Logged, 0-dim tensors: `loss/upper`; `loss/lower` (before the last lower step); `g_lower` = |g_l|, `cosine` of
g_l and g_u, `response_norm` and `direct_norm` (of dF_upper/dx) where there is a response; `s` and `capped` (0 or
1) for the outer product. `g_lower` is exactly 0 where the response was 0/0 and is taken as zero.

An energy or gradient that is not finite is found before the step that it would spoil: that level and those
after it stay as they were, while lower steps that were sound stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, optim

from restore_hub.bilevel import (
    Gradients,
    OuterProduct,
    Pull,
    along,
    apply,
    cap,
    check_finite,
    check_scalar,
    check_supported,
    check_zero_sum,
    cosine,
    descend,
    differentiate,
    evaluate,
    fill,
    finite_difference,
    norm,
    outer_product,
    preconditioner,
    shares_batch,
    step_upper,
)
from restore_hub.contracts import Batches, Problem, SingleLevel
from restore_hub.errors import BilevelError, OptionError

Logs = dict[str, Tensor]


@dataclass
class State:
    """All that a solver carries from step to step.

    Attributes:
        optimizers: one a level, upper first.
        history: norms of past responses, `restore_hub.bilevel.cap`; NaN throughout where there is no cap.
    """

    optimizers: tuple[optim.Optimizer, ...]
    history: Tensor

    def state_dict(self) -> dict[str, Any]:
        """Return plain containers of tensors and numbers, for `torch.save`."""
        return {"optimizers": [o.state_dict() for o in self.optimizers], "history": self.history.clone()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned; the run continues as if it had not stopped."""
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.history = saved["history"].to(self.history, copy=True)


class Joint:
    """All variables step together on one energy: the warm start of TBGL and IBGL. No hypergradient.

    Reads `batches.lower[0]`; takes a `SingleLevel` problem and one optimizer.

    Reference:
        Bilevel Generative Learning (ACM MM 2023), Alg. 1 line 3 and Alg. 2 line 2.
    """

    levels = 1
    responds = False

    def init(self, problem: SingleLevel, optimizers: Sequence[optim.Optimizer]) -> State:
        """Return the state; BilevelError where the optimizer does not hold the problem's variables."""
        return _state(optimizers, (problem.variables,))

    def step(self, problem: SingleLevel, state: State, batches: Batches) -> tuple[State, Logs]:
        """Take one step on F; log `loss`."""
        if batches.upper is not None or batches.steps != 1 or len(batches.lower) != 1:
            raise BilevelError("joint has one level: it takes one lower batch, no upper batch, and one step")
        value = problem.energy(batches.lower[0])
        check_scalar(value, "F")
        gradient = fill(differentiate(value, problem.variables), problem.variables, "the variables", "F")
        names = ("the value of F", *(f"the gradient of F by {name}" for name in problem.names))
        check_finite((value.detach(), *gradient), names)
        apply(state.optimizers[0], problem.variables, gradient)
        return state, {"loss": value.detach()}

    def evaluations(self, lower_steps: int) -> int:
        """Return 1: one gradient of F; BilevelError for more than one step."""
        if lower_steps != 1:
            raise BilevelError(f"joint has no lower level to take {lower_steps} steps at")
        return 1


class Alternating:
    """Lower steps, then an upper step along dF_upper/dtheta alone: the response term is dropped.

    Gradient: G = dF_upper/dtheta at the stepped omega. The lower level's answer to theta is ignored, so this
    solver is exempt from every claim of convergence to the bilevel optimum. F_upper need not depend on omega.

    Reference:
        Learning with Constraint Learning (TPAMI 2024), III-C (alternating direction iteration).
    """

    levels = 2
    responds = False

    def init(self, problem: Problem, optimizers: Sequence[optim.Optimizer]) -> State:
        """Return the state; BilevelError where an optimizer does not hold its level's variables."""
        return _state(optimizers, (problem.theta, problem.omega))

    def step(self, problem: Problem, state: State, batches: Batches) -> tuple[State, Logs]:
        """Take `batches.steps` lower steps and one upper step."""
        shared = shares_batch(batches)
        below = descend(problem, state.optimizers[1], batches, graph=shared)
        x = below.x if shared else problem.couple(batches.upper)
        above = evaluate(problem, "upper", x, problem.omega, batches.upper, wrt=("x",))
        step_upper(problem, state.optimizers[0], Pull(x, above.x))
        return state, {"loss/upper": above.value, "loss/lower": below.loss}

    def evaluations(self, lower_steps: int) -> int:
        """Return lower_steps + 1: the lower gradients, and dF_upper/dx."""
        return lower_steps + 1


class Tbgl:
    """One lower step, answered for by a central difference: `restore_hub.bilevel.finite_difference`.

    Gradient: G = dF_upper/dtheta - d^2 F_lower / dtheta domega * P dF_upper/domega'. The lower optimizer is SGD
    without momentum, or Adam or AdamW after a warm start.

    Args:
        radius: distance in omega of the difference's ends from its centre, > 0.

    Reference:
        Bilevel Generative Learning (ACM MM 2023), Eq. 5 and Alg. 1, with the direction corrected.
    """

    levels = 2
    responds = True

    def __init__(self, radius: float = 0.01) -> None:
        if not radius > 0:
            raise OptionError(f"radius must be positive, got {radius}", "radius")
        self.radius = radius

    def init(self, problem: Problem, optimizers: Sequence[optim.Optimizer]) -> State:
        """Return the state; BilevelError where an optimizer is not its level's, or the lower one has no known P."""
        state = _state(optimizers, (problem.theta, problem.omega))
        check_supported(state.optimizers[1])
        return state

    def step(self, problem: Problem, state: State, batches: Batches) -> tuple[State, Logs]:
        """Take one lower step and one upper step."""
        self.evaluations(batches.steps)
        shared = shares_batch(batches)
        before = tuple(w.detach().clone() for w in problem.omega)
        below = descend(problem, state.optimizers[1], batches, graph=True)
        x = below.x if shared else problem.couple(batches.upper)
        above = evaluate(problem, "upper", x, problem.omega, batches.upper, optional=("x",))
        direction = along(preconditioner(state.optimizers[1], problem.omega), above.omega)
        response = finite_difference(problem, below.x, before, direction, batches.lower[-1], self.radius)
        step_upper(problem, state.optimizers[0], Pull(x, above.x), Pull(below.x, response.x))
        return state, {
            "loss/upper": above.value,
            "loss/lower": below.loss,
            "g_lower": norm(below.omega_grad),
            "cosine": cosine(below.omega_grad, above.omega),
            "response_norm": response.norm,
            "direct_norm": norm(above.x),
        }

    def evaluations(self, lower_steps: int) -> int:
        """Return 4: the lower step, F_upper, and the two ends; BilevelError for more than one lower step."""
        if lower_steps != 1:
            raise BilevelError(f"tbgl differentiates exactly one lower step, got {lower_steps}; use ibgl for more")
        return 4


class Ibgl:
    """k lower steps, answered for by the outer-product ratio: `restore_hub.bilevel.outer_product`.

    Gradient: G = dF_upper/dtheta - s dF_lower/dtheta, s = <g_l, g_u> / <g_l, g_l>, everything at the omega after
    the last lower step, F_lower on the last lower batch. Meant to follow a warm start (`joint`); the paper takes
    80 lower steps for enhancement and 30 for detection.

    Args:
        cap: largest norm of the response, in running medians of past norms, > 1; none for no bound.

    Reference:
        Bilevel Generative Learning (ACM MM 2023), Eq. 9 and Alg. 2.
    """

    levels = 2
    responds = True

    def __init__(self, cap: float | None = 10.0) -> None:
        if cap is not None and not cap > 1:
            raise OptionError(f"cap is a factor above 1, or none, got {cap}", "cap")
        self.cap = cap

    def init(self, problem: Problem, optimizers: Sequence[optim.Optimizer]) -> State:
        """Return the state; BilevelError where an optimizer does not hold its level's variables."""
        return _state(optimizers, (problem.theta, problem.omega))

    def step(self, problem: Problem, state: State, batches: Batches) -> tuple[State, Logs]:
        """Take `batches.steps` lower steps and one upper step."""
        shared = shares_batch(batches)
        below = descend(problem, state.optimizers[1], batches, graph=True)
        at_response = evaluate(problem, "lower", below.x, problem.omega, batches.lower[-1])
        x = below.x if shared else problem.couple(batches.upper)
        above = evaluate(problem, "upper", x, problem.omega, batches.upper, optional=("x",))
        response = self._respond(state, at_response, above, shared)
        step_upper(problem, state.optimizers[0], Pull(x, above.x), Pull(below.x, response.x))
        if self.cap is not None:
            state.history = cap.record(state.history, response.raw_norm)
        return state, {
            "loss/upper": above.value,
            "loss/lower": below.loss,
            "s": response.s,
            "g_lower": response.g_lower,
            "cosine": response.cosine,
            "response_norm": response.norm,
            "direct_norm": norm(above.x),
            "capped": response.capped,
        }

    def _respond(self, state: State, lower: Gradients, upper: Gradients, shared: bool) -> OuterProduct:
        limit = None if self.cap is None else cap.limit(state.history, self.cap)
        response = outer_product(lower.omega, upper.omega, lower.x, limit)
        if shared:
            check_zero_sum(lower, upper, response)
        return response

    def evaluations(self, lower_steps: int) -> int:
        """Return lower_steps + 2: the lower steps, both gradients of F_lower at omega_hat, those of F_upper."""
        return lower_steps + 2


class Lwcl(Ibgl):
    """The outer-product response from a cold start, meant for one lower step; the step itself is that of `ibgl`.

    Args:
        cap: as in `ibgl`.

    Reference:
        Learning with Constraint Learning (TPAMI 2024), Eq. 8 and Alg. 1.
    """


def _state(optimizers: Sequence[optim.Optimizer], variables: Sequence[tuple[Tensor, ...]]) -> State:
    """Pair optimizers with levels, upper first."""
    if len(optimizers) != len(variables):
        raise BilevelError(f"the solver takes {len(variables)} optimizers, one a level, got {len(optimizers)}")
    for level, (optimizer, tensors) in enumerate(zip(optimizers, variables, strict=True)):
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if held != {id(t) for t in tensors}:
            raise BilevelError(
                f"optimizer {level} does not hold exactly the variables of its level; build it from them"
            )
    return State(tuple(optimizers), cap.new_history(variables[0][0].device))
