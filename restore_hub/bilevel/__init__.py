r"""The mathematics of bilevel training, as pure functions on tensors that work without the rest of restore_hub.

.. math:: \min_\theta F_{upper}(x(\theta), \omega(\theta))
    \quad\text{with}\quad \omega(\theta) \in \arg\min_\omega F_{lower}(x(\theta), \omega)

======================  ==========================================================================
symbol                  here
======================  ==========================================================================
theta, omega            `LevelPair.theta`, `LevelPair.omega`: upper and lower variables, live leaf tensors
x(theta)                `LevelPair.couple(batch)`: all that the energies see of theta
F_upper, F_lower        `LevelPair.upper`, `LevelPair.lower`: scalars, pure functions of (x, omega, batch)
g_u, g_l                dF_upper/domega, dF_lower/domega
R                       response: what the dependence of omega on theta adds to dF_upper/dx
s                       ratio of the outer product, <g_l, g_u> / <g_l, g_l>
g_j, t_j                dF_j/domega, dF_j/dx of a group (a sample or a part of a batch): F_lower = sum_j F_j
P                       diagonal of the lower optimizer: d omega' / dx = -P d g_l / dx
======================  ==========================================================================

Every method works on x detached and returns R, a cotangent at x. `hypergradient` sends dF_upper/dx and R through
`couple` in one backward pass, so the upper block runs forward and backward once for each distinct batch, however many
lower steps there are.

Combine the parts freely: `descend` (any torch optimizer, in place) or `unroll` (SGD, Adam or AdamW, in a graph) for
the lower level; `outer_product`, `finite_difference`, `implicit` or `reverse` for R; `step_upper` for the upper level.
`restore_hub.bilevel.solvers` has one class for each method; `Start` restarts the lower level in each step.

In this example the lower optimum is omega = theta, and F_upper = (omega - 3)^2 / 2 + theta^2 / 2 has its bilevel
optimum at theta = 1.5. The direct gradient alone leads to theta = 0:

>>> import torch
>>> from restore_hub.bilevel.solvers import Alternating, Cg, F2sa, Rhg
>>> from restore_hub.contracts import Batches
>>> class Quadratic:
...     theta_names, omega_names = ("theta",), ("omega",)
...     def __init__(self):
...         self.theta = (torch.tensor(0.2, dtype=torch.float64, requires_grad=True),)
...         self.omega = (torch.tensor(0.7, dtype=torch.float64, requires_grad=True),)
...     def couple(self, batch):
...         return self.theta
...     def upper(self, x, omega, batch):
...         return 0.5 * (omega[0] - batch) ** 2 + 0.5 * x[0] ** 2
...     def lower(self, x, omega, batch):
...         return 0.5 * (omega[0] - x[0]) ** 2
>>> batches = Batches(upper=3.0, lower=[None], steps=10)  # passed to `couple`, `upper` and `lower`
>>> for solver in (Alternating(), Cg(), Rhg(), F2sa(penalty=1000.0)):
...     pair = Quadratic()
...     optimizers = [torch.optim.SGD(pair.theta, lr=0.2), torch.optim.SGD(pair.omega, lr=0.5)]
...     state = solver.init(pair, optimizers)  # any torch optimizers, upper level first
...     for _ in range(80):
...         state, logs = solver.step(pair, state, batches)
...     print(f"{type(solver).__name__}: {pair.theta[0].item():.2f}")
Alternating: 0.00
Cg: 1.50
Rhg: 1.50
F2sa: 1.50

A method of your own takes a few lines:

>>> from restore_hub.bilevel import Pull, descend, evaluate, outer_product, step_upper
>>> pair, batches = Quadratic(), Batches(upper=3.0, lower=[None], steps=2)
>>> above, below = (torch.optim.SGD(v, lr=0.3) for v in (pair.theta, pair.omega))
>>> for _ in range(60):
...     x_lower = descend(pair, below, batches, graph=True).x
...     lower = evaluate(pair, "lower", x_lower, pair.omega, None)
...     x = pair.couple(batches.upper)
...     upper = evaluate(pair, "upper", x, pair.omega, batches.upper)
...     response = outer_product(lower.omega, upper.omega, lower.x)
...     step_upper(pair, above, Pull(x, upper.x), Pull(x_lower, response.x))
>>> print(f"{pair.theta[0].item():.4f}")
1.5000

A solver treats the omega before its step as a constant. If the lower level starts at theta, as in few-shot learning,
let omega be the offset from there: the energies take x + omega, and `Start` resets omega to zero.

>>> from restore_hub.bilevel import Start
>>> network = torch.nn.Linear(1, 1, dtype=torch.float64)
>>> class Adapted:
...     theta_names = omega_names = tuple(name for name, _ in network.named_parameters())
...     def __init__(self):
...         self.theta = tuple(network.parameters())
...         self.omega = tuple(torch.zeros_like(p, requires_grad=True) for p in self.theta)
...     def couple(self, batch):
...         return self.theta
...     def upper(self, x, omega, batch):
...         adapted = {name: p + w for name, p, w in zip(self.theta_names, x, omega)}
...         return (torch.func.functional_call(network, adapted, batch[0]) - batch[1]).square().mean()
...     lower = upper  # on other samples of the same task
>>> pair, inputs = Adapted(), torch.linspace(-1, 1, 8, dtype=torch.float64)[:, None]
>>> optimizers = [torch.optim.SGD(pair.theta, lr=0.05), torch.optim.SGD(pair.omega, lr=0.1)]
>>> solver, start = Rhg(), Start(optimizers[1])
>>> state = solver.init(pair, optimizers)
>>> for step in range(400):
...     start.restore(state)
...     few, many = ((part, (1.0, 3.0)[step % 2] * part) for part in (inputs[::3], inputs))
...     state, logs = solver.step(pair, state, Batches(upper=many, lower=[few], steps=3))
>>> print(f"{network.weight.item():.1f}")
2.0
"""

from __future__ import annotations

from restore_hub.bilevel import norm_cap
from restore_hub.bilevel.apply import apply
from restore_hub.bilevel.coupling import Levels, check_batches, couple_levels, coupled, shares_batch
from restore_hub.bilevel.finite_difference import FiniteDifference, along, finite_difference
from restore_hub.bilevel.gradients import (
    Gradients,
    check_finite,
    check_scalar,
    differentiate,
    evaluate,
    evaluate_both,
    fill,
    gradient_graph,
    gradients,
    pull_back,
)
from restore_hub.bilevel.grouped_product import grouped_product
from restore_hub.bilevel.groups import Grouping, Rows, Share, everywhere, lower_rows, rows_by_parts, rows_by_vmap
from restore_hub.bilevel.implicit import Implicit, Solution, conjugate_gradient, implicit, neumann_series
from restore_hub.bilevel.lower import Descent, descend
from restore_hub.bilevel.nested_pair import NestedPair, evaluations
from restore_hub.bilevel.outer import Pull, Responding, Still, hypergradient, step_upper
from restore_hub.bilevel.outer_product import OuterProduct, check_zero_sum, outer_product
from restore_hub.bilevel.preconditioner import check_supported, preconditioner
from restore_hub.bilevel.reduction import ALONE, Reduction, reduction_of, spread, summed
from restore_hub.bilevel.restart import Start
from restore_hub.bilevel.unroll import Unrolled, reverse, unroll
from restore_hub.bilevel.update import check_differentiable, keep, recall, update
from restore_hub.bilevel.vectors import Tensors, cosine, inner, norm, scaled

__all__ = [
    "ALONE",
    "Descent",
    "FiniteDifference",
    "Gradients",
    "Grouping",
    "Implicit",
    "Levels",
    "NestedPair",
    "OuterProduct",
    "Pull",
    "Reduction",
    "Responding",
    "Rows",
    "Share",
    "Solution",
    "Start",
    "Still",
    "Tensors",
    "Unrolled",
    "along",
    "apply",
    "check_batches",
    "check_differentiable",
    "check_finite",
    "check_scalar",
    "check_supported",
    "check_zero_sum",
    "conjugate_gradient",
    "cosine",
    "couple_levels",
    "coupled",
    "descend",
    "differentiate",
    "evaluate",
    "evaluate_both",
    "evaluations",
    "everywhere",
    "fill",
    "finite_difference",
    "gradient_graph",
    "gradients",
    "grouped_product",
    "hypergradient",
    "implicit",
    "inner",
    "keep",
    "lower_rows",
    "neumann_series",
    "norm",
    "norm_cap",
    "outer_product",
    "preconditioner",
    "pull_back",
    "recall",
    "reduction_of",
    "reverse",
    "rows_by_parts",
    "rows_by_vmap",
    "scaled",
    "shares_batch",
    "spread",
    "step_upper",
    "summed",
    "unroll",
    "update",
]
