"""Reverse mode through lower steps that descend on a mixture of both energies."""

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
    with omega_0 constant. F_upper is taken on the upper batch throughout, whose x therefore has a response too. Among
    several minimisers of F_lower the steps approach the one with the lowest F_upper, while `rhg` approaches the one
    nearest to its start; if there is only one minimiser, they end about 1/K away from it. So a few steps with cold
    restarts, and K = 1 in particular, lead to another optimum than that of the bilevel problem.

    F_upper is logged at an omega that was stepped on F_upper too, so `loss/upper` is lower than for other solvers.

    The lower optimizer is SGD (with or without momentum), Adam or AdamW, and gets the mixture as its gradient. Memory
    grows with K. Cost: K gradients and K Hessian-vector products of each energy, and one more gradient of F_upper.

    Args:
        weight: alpha, the weight of F_upper in the first step, in (0, 1).

    Reference:
        Liu et al., A Generic First-Order Algorithmic Framework for Bi-Level Programming Beyond Lower-Level Singleton,
        ICML 2020; the step sizes of both energies are that of the optimizer.
    """

    levels = 2
    responds = True

    def __init__(self, weight: float = 0.5) -> None:
        if not 0 < weight < 1:
            raise OptionError("bilevel.bad-weight", "weight", got=weight)
        self.weight = weight

    def init(self, pair: LevelPair, optimizers: Sequence[optim.Optimizer]) -> State:
        """Return the state; BilevelError if an optimizer isn't its level's, or the lower one's step isn't known."""
        state = new_state(optimizers, (pair.theta, pair.omega))
        check_differentiable(state.optimizers[1])
        return state

    def step(self, pair: LevelPair, state: State, batches: Batches) -> tuple[State, Logs]:
        """Take `batches.steps` lower steps and one upper step."""
        levels = couple_levels(pair, batches)
        x = levels.upper
        root = tuple(t.detach().requires_grad_() for t in x)

        def mixture(k: int, omega: Tensors, g_l: Tensors) -> Tensors:
            _, g_u = gradient_graph(pair, "upper", root, omega, batches.upper)
            share = self.weight / (k + 1)
            # alpha_k g_u + (1 - alpha_k) g_l
            return tuple(share * u + (1 - share) * low for u, low in zip(g_u, g_l, strict=True))

        below = unroll(pair, state.optimizers[1], batches, levels=levels, aggregate=mixture)
        above = evaluate(pair, "upper", x, pair.omega, batches.upper, optional=("x",))
        logs = report(pair, below.loss, below.omega_grad, above)
        below = below._replace(omega_grad=())  # free a vector of the size of omega
        response = reverse(below, above.omega, root)
        step_upper(pair, state.optimizers[0], Pull(x, above.x), *map(Pull, (*below.x, x), response))
        return state, {**logs, "response_norm": reduction_of(pair).norm(*response)}

    def evaluations(self, lower_steps: int) -> int:
        """Return 4 K + 1: both gradients in each step, the reverse pass through them, and F_upper's."""
        return 4 * lower_steps + 1
