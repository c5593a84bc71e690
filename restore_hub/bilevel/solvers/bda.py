"""Reverse mode through lower steps on the aggregated descent of both energies."""

from __future__ import annotations

from collections.abc import Sequence

from torch import optim

from restore_hub.bilevel.coupling import couple_levels
from restore_hub.bilevel.gradients import evaluate, gradient_graph
from restore_hub.bilevel.outer import Pull, step_upper
from restore_hub.bilevel.reduction import reduction_of
from restore_hub.bilevel.solvers.state import Logs, State, new_state, report
from restore_hub.bilevel.unroll import reverse, unroll
from restore_hub.bilevel.update import check_differentiable
from restore_hub.bilevel.vectors import Tensors
from restore_hub.contracts import Batches, LevelPair
from restore_hub.errors import OptionError


class Bda:
    r"""K lower steps on a decaying mixture of both energies, kept in a graph (bilevel descent aggregation).

    .. math::
        \omega_{k+1} = \omega_k - \eta \, [\alpha_k \, g_u(\omega_k) + (1 - \alpha_k) \, g_l(\omega_k)], \qquad
        \alpha_k = \frac{\alpha}{k + 1}, \quad k = 0 .. K - 1

    Gradient: G = dF_upper/dtheta + (d omega_K / dtheta)^T dF_upper/domega, exact for theta -> F_upper(theta, omega_K)
    with omega_0 taken for a constant; F_upper on the upper batch throughout, so that its x answers, too. Among the
    minimisers of F_lower the steps look for the one that F_upper likes best, where `rhg` takes the one next to its
    start; where there is only one, they end some 1/K beside it. So few steps that begin anew each time (K = 1 above
    all) find another optimum than that of the bilevel problem.

    The omega that F_upper is logged at is stepped on F_upper, too: `loss/upper` lies below that of other solvers.

    The lower optimizer is SGD (momentum, too), Adam or AdamW; it is handed the mixture for a gradient. Memory grows
    with K. Cost: K gradients of each energy and as many Hessian-vector products of each, and one more gradient of
    F_upper.

    Args:
        weight: alpha, that of F_upper in the first step, in (0, 1).

    Reference:
        Liu et al., A Generic First-Order Algorithmic Framework for Bi-Level Programming Beyond Lower-Level Singleton,
        ICML 2020; the step sizes of both energies are that of the optimizer.
    """

    levels = 2
    responds = True

    def __init__(self, weight: float = 0.5) -> None:
        if not 0 < weight < 1:
            raise OptionError(f"weight must lie between 0 and 1, got {weight}", "weight")
        self.weight = weight

    def init(self, problem: LevelPair, optimizers: Sequence[optim.Optimizer]) -> State:
        """Return the state; BilevelError where an optimizer is not its level's, or the lower one's step not known."""
        state = new_state(optimizers, (problem.theta, problem.omega))
        check_differentiable(state.optimizers[1])
        return state

    def step(self, problem: LevelPair, state: State, batches: Batches) -> tuple[State, Logs]:
        """Take `batches.steps` lower steps and one upper step."""
        levels = couple_levels(problem, batches)
        x = levels.upper
        root = tuple(t.detach().requires_grad_() for t in x)

        def mixture(k: int, omega: Tensors, g_l: Tensors) -> Tensors:
            _, g_u = gradient_graph(problem, "upper", root, omega, batches.upper)
            share = self.weight / (k + 1)
            # alpha_k g_u + (1 - alpha_k) g_l
            return tuple(share * u + (1 - share) * low for u, low in zip(g_u, g_l, strict=True))

        below = unroll(problem, state.optimizers[1], batches, levels=levels, aggregate=mixture)
        above = evaluate(problem, "upper", x, problem.omega, batches.upper, optional=("x",))
        logs = report(problem, below.loss, below.omega_grad, above)
        below = below._replace(omega_grad=())  # a vector of the size of omega, which the way back has no use for
        response = reverse(below, above.omega, root)
        step_upper(problem, state.optimizers[0], Pull(x, above.x), *map(Pull, (*below.x, x), response))
        return state, {**logs, "response_norm": reduction_of(problem).norm(*response)}

    def evaluations(self, lower_steps: int) -> int:
        """Return 4 K + 1: both gradients in each step, the reverse pass through them, and those of F_upper."""
        return 4 * lower_steps + 1
