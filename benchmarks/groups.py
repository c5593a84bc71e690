"""How close solvers get with one outer product, with groups, and with the exact response, for 1 to 100 lower steps.

The table has the error that remains after training, for the worst of a few starts; smaller is better. Every solver
gets the same problems, starts and batches.

- `digits`: the pipeline hyper_cleaning; the error is 1 - F1. `alternating` has no gradient there and doesn't move.
- `sine`: the pipeline numerical from wide starts; the error is |theta - theta*| / |theta*|.
- `quadratic`: random residuals at the lower level, a random target at the upper one; the error is F_upper minus its
  optimum, relative to the start.

`exact` solves with the dense Hessian, damped by 1e-3 of its largest eigenvalue because it is singular on the digits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, optim

from arena.results import parser, publish, table
from restore_hub.bilevel import Gradients, OuterProduct, Rows, Tensors, rows_by_vmap
from restore_hub.bilevel.solvers import Alternating, Ibgl, Lwcl
from restore_hub.contracts import Batches
from restore_hub.errors import BilevelError
from restore_hub.train.optimizers import make_optimizer
from restore_hub.train.problems.plugin_pair import ProblemPair
from restore_hub.train.problems.trainable import of_stage
from restore_hub.train.setup import set_up

PIPELINES = Path(__file__).resolve().parent.parent / "pipelines"


class Exact(Ibgl):
    """The implicit gradient by the dense Hessian; otherwise like `ibgl` without a cap."""

    def __init__(self, damping: float) -> None:
        super().__init__(cap=None)
        self._relative = damping

    def _lower(self, problem: Any, x: Tensors, batch: Any) -> Gradients | Rows:
        self._point = (problem, x, batch)
        return super()._lower(problem, x, batch)

    def _respond(self, state: Any, lower: Gradients | Rows, upper: Gradients, *how: Any) -> OuterProduct:
        response = super()._respond(state, lower, upper, *how)
        return response._replace(x=exact_response(*self._point, upper.omega, self._relative))


def exact_response(
    problem: Any, x: Sequence[Tensor], batch: Any, g_u: Sequence[Tensor], damping: float
) -> tuple[Tensor, ...]:
    """Return -(d^2 F_lower / dx domega) (H + damping max(eigenvalue) I)^-1 g_u."""
    shapes = [w.shape for w in problem.omega]
    sizes = [w.numel() for w in problem.omega]
    leaves = tuple(t.detach().requires_grad_() for t in x)

    fixed = tuple(t.detach() for t in x)

    def energy(flat: Tensor, x: Any = fixed) -> Tensor:
        omega = tuple(part.reshape(shape) for part, shape in zip(flat.split(sizes), shapes, strict=True))
        value: Tensor = problem.lower(x, omega, batch)
        return value

    flat = torch.cat([w.detach().flatten() for w in problem.omega])
    H = torch.func.hessian(energy)(flat).double()
    v = torch.cat([g.flatten() for g in g_u]).double()
    solved = torch.linalg.solve(H + damping * torch.linalg.eigvalsh(H)[-1] * torch.eye(len(H)).double(), v)
    flat = flat.requires_grad_()
    (g_l,) = torch.autograd.grad(energy(flat, leaves), flat, create_graph=True)
    return tuple(-t for t in torch.autograd.grad(g_l @ solved.to(g_l), leaves))


class Quadratic:
    """F_lower = |b theta + c omega - e|^2 / 2 over samples, F_upper = |omega - target|^2 / 2 + |theta|^2 / 20."""

    theta_names, omega_names = ("theta",), ("omega",)

    def __init__(self, seed: int, samples: int = 40, n: int = 10) -> None:
        draw = torch.Generator().manual_seed(seed)
        shapes = ((samples, 5), (samples, n), (samples,), (n,), (5,), (n,))
        made = [torch.randn(s, generator=draw, dtype=torch.float64) for s in shapes]
        self.b, self.c, self.e, self.target, theta, omega = made
        self.theta, self.omega = (theta.requires_grad_(),), (omega.requires_grad_(),)

    def couple(self, _: Any) -> tuple[Tensor, ...]:
        return self.theta

    def upper(self, x: Any, omega: Any, _: Any) -> Tensor:
        return 0.5 * (omega[0] - self.target).square().sum() + 0.05 * x[0].square().sum()

    def lower(self, x: Any, omega: Any, batch: Any) -> Tensor:
        return self._each(x, omega, batch)[0]

    def _each(self, x: Any, omega: Any, index: Tensor) -> tuple[Tensor, int]:
        return 0.5 * (self.b[index] @ x[0] + self.c[index] @ omega[0] - self.e[index]).square().sum(), 1

    def lower_groups(self, x: Any, omega: Any, batch: Tensor, groups: Any) -> Rows:
        # The count of each group is 1, so the rows are those of F_lower / m; no response depends on that factor.
        return rows_by_vmap(self._each, x, omega, batch.reshape(len(batch) if groups == "sample" else groups, -1))

    def value(self, theta: Tensor) -> Tensor:
        """Return F_upper at the optimum of the lower level."""
        omega = torch.linalg.lstsq(self.c, (self.e - self.b @ theta)[:, None]).solution[:, 0]
        return self.upper((theta,), (omega,), None)

    def best(self) -> Tensor:
        """Return its optimum, a least-squares problem in theta."""
        inverse = torch.linalg.pinv(self.c)
        A = torch.cat([-inverse @ self.b, 0.1**0.5 * torch.eye(5).double()])
        y = torch.cat([self.target - inverse @ self.e, torch.zeros(5).double()])
        return self.value(torch.linalg.lstsq(A, y[:, None]).solution[:, 0])


SOLVERS: dict[str, Callable[[], Any]] = {
    "alternating": Alternating,
    "lwcl": Lwcl,
    "groups: 4": lambda: Lwcl(groups=4),
    "groups: sample": lambda: Lwcl(groups="sample"),
    "exact": lambda: Exact(1e-3),
}


class Task(NamedTuple):
    """A problem in training: the optimizers of its variables, the batches of each step, and the remaining error."""

    problem: Any
    optimizers: list[optim.Optimizer]
    batches: Callable[[int], Batches]
    left: Callable[[], float]


def quadratic(k: int, seed: int) -> Task:
    """Return a random quadratic."""
    problem, batch = Quadratic(seed), torch.arange(40)
    start, best = problem.value(problem.theta[0].detach()), problem.best()
    optimizers = [optim.Adam(problem.theta, lr=0.05), optim.SGD(problem.omega, lr=0.01)]

    def left() -> float:
        return ((problem.value(problem.theta[0].detach()) - best) / (start - best)).item()

    return Task(problem, optimizers, lambda _: Batches(None, [batch], k), left)


def pipeline(name: str, error: Callable[[Mapping[str, float]], float], k: int, *overrides: str) -> Task:
    """Return a shipped pipeline, with whole splits as batches."""
    setup = set_up(PIPELINES / f"{name}.yaml", ["tracker=", *overrides], [], "cpu")
    stage = setup.plan.spec.stages[0]
    problem = of_stage(setup.trainable, stage)[0]
    assert isinstance(problem, ProblemPair)
    pairs = zip(stage.levels, (problem.theta, problem.omega), strict=True)
    upper, lower = (setup.stream(level.data, "all").batch(0) for level in stage.levels)
    batches = Batches(upper, [lower], k)
    return Task(
        problem,
        [make_optimizer(*pair) for pair in pairs],
        lambda _: batches,
        lambda: error(setup.trainable.evaluate().means),
    )


def digits(k: int, seed: int) -> Task:
    """Return hyper-cleaning."""
    sizes = ["problem.train=200", "problem.validation=300", f"problem.data_seed={seed}"]
    return pipeline("hyper_cleaning", lambda means: 1 - means["f1"], k, "problem.batch_size=", *sizes)


def sine(k: int, seed: int) -> Task:
    """Return the toy problem of Eq. 9 from starts as wide as the basin of its optimum."""
    start = ["problem.omega=3.7", f"problem.spread={2.3 - 0.2 * seed}", "problem.n=40", "stages.0.upper.lr=5e-3"]
    return pipeline("numerical", lambda means: means["theta_error"], k, *start)


TASKS: dict[str, Callable[[int, int], Task]] = {"digits": digits, "sine": sine, "quadratic": quadratic}


def train(task: Task, solver: Any, outer: int) -> float:
    """Take the outer steps; return the remaining error."""
    state = solver.init(task.problem, task.optimizers)
    for step in range(outer):
        try:
            state, _ = solver.step(task.problem, state, task.batches(step))
        except BilevelError:  # alternating has no gradient if F_upper doesn't depend on theta
            break
    return task.left()


def main() -> None:
    """Train, print, write."""
    arguments = parser(__doc__, repeats=1)
    arguments.add_argument("--steps", type=int, default=120, help="outer steps")
    arguments.add_argument("--lower", default="1,10,100", help="lower steps, one row for each")
    arguments.add_argument("--seeds", type=int, default=3, help="number of starts; the largest error is printed")
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    rows = []
    for name, make in TASKS.items():
        for k in (int(text) for text in given.lower.split(",")):
            left = (
                max(train(make(k, seed), solver(), given.steps) for seed in range(given.seeds))
                for solver in SOLVERS.values()
            )
            rows.append([f"{name}, {k}", *(f"{value:.4f}" for value in left)])
    text = table(["problem, lower steps", *SOLVERS], rows)
    publish("groups", __doc__, [text], given.results, f"One process, {given.threads} thread(s); no times.")


if __name__ == "__main__":
    main()
