"""Accuracy of the response by groups at each damping, on the pipeline hyper_cleaning with a group for each sample.

The table has the cosine to the exact response and the ratio of the norms, for theta at its start and after some outer
steps, with omega after a number of lower steps from its start. The exact response solves with the dense Hessian, damped
by 1e-3 of its largest eigenvalue, as in `groups.py`. The last row is 1 - F1 after training with ten lower steps per
outer step, for the worst of three choices of samples.
"""

from __future__ import annotations

import torch

from arena.results import parser, publish, table
from groups import digits, exact_response, train
from restore_hub.bilevel import Tensors, cosine, descend, grouped_product, norm
from restore_hub.bilevel.solvers import Lwcl
from restore_hub.contracts import Batches

DAMPINGS = (0.001, 0.01, 0.05, 0.1, 0.3, 1.0)


def compare(lower: int, outer: int) -> list[str]:
    """Return a cell for each damping, at omega after so many lower steps for theta after so many outer ones."""
    task = digits(10, 0)
    start = [w.detach().clone() for w in task.problem.omega]
    if outer:
        train(task, Lwcl(groups="sample"), outer)
    problem, batch = task.problem, task.batches(0)
    with torch.no_grad():
        for w, first in zip(problem.omega, start, strict=True):
            w.copy_(first)
    x = tuple(t.detach() for t in problem.theta)
    descend(problem, task.optimizers[1], Batches(None, batch.lower, lower))
    g_u = torch.autograd.grad(problem.upper(x, problem.omega, batch.upper), problem.omega)
    exact = exact_response(problem, x, batch.lower[0], g_u, 1e-3)
    rows = problem.lower_groups(x, problem.omega, batch.lower[0], "sample")
    return [_cell(grouped_product(rows, g_u, damping).x, exact) for damping in DAMPINGS]


def left(damping: float, outer: int) -> str:
    """Return what is left of the error after training with a damping, for the worst of three choices of samples."""
    return f"{max(train(digits(10, seed), Lwcl(groups='sample', damping=damping), outer) for seed in range(3)):.3f}"


def _cell(response: Tensors, exact: Tensors) -> str:
    return f"{cosine(response, exact):.2f} / {norm(response) / norm(exact):.2f}"


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, repeats=1)
    arguments.add_argument("--lower", default="1,10,100,1000", help="lower steps, one row for each")
    arguments.add_argument("--steps", type=int, default=40, help="outer steps of training for theta")
    arguments.add_argument("--trained", type=int, default=120, help="outer steps of the last row")
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    steps = [(outer, int(text)) for outer in (0, given.steps) for text in given.lower.split(",")]
    rows = [[f"{outer} outer, {lower} lower steps", *compare(lower, outer)] for outer, lower in steps]
    rows.append([f"1 - F1 after {given.trained}", *(left(damping, given.trained) for damping in DAMPINGS)])
    text = table(["damping", *(f"{damping:g}" for damping in DAMPINGS)], rows)
    publish("response", __doc__, [text], given.results, f"One process, {given.threads} thread(s); no times.")


if __name__ == "__main__":
    main()
