"""LwCL, Table I: every solver on the toy problem of Eq. 9, whose optimum is known for every n.

There is one table in which all solvers take the same number of lower steps, one with a single lower step, and one for
`lwcl` alone up to large n.

- `step`: one outer step, including its lower steps.
- `peak`: tensors alive at once in a step, in vectors of n float64 and in bytes. It counts, after each operation, all
  storages that an operation reads or makes or that autograd keeps, including omega, but not what a kernel allocates and
  frees inside an operation.
- `still`: outer steps until theta moves by less than 1e-6 of itself, which doesn't mean convergence (see
  `alternating`); `error` is |theta - theta*| / |theta*| at that point.
- `to 2e-4`: outer steps, and their time, until that error stays at or below 2e-4.

All start from equal values, theta = omega = 3, with plain SGD at rates 0.2 / (1 + n) and 0.8. With a single lower step
the lower rate matters: at 0.5 omega lags behind, and `lwcl` takes 21 outer steps instead of 9. `ibgl` is the same as
`lwcl` here. `tbgl` takes a single lower step. `f2sa` has penalty 1e4, `truncated-rhg` differentiates 5 steps, and `cg`
and `neumann` take at most 20 products.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, optim

from arena.contest import Contender, interleave, ratio, serve
from arena.memory import peak_bytes
from arena.results import conditions, parser, publish, table
from restore_hub.bilevel.solvers import Alternating, Bda, Cg, F2sa, Lwcl, Neumann, Rhg, Tbgl, TruncatedRhg
from restore_hub.contracts import Batches

SOLVERS: dict[str, Callable[[], Any]] = {
    "alternating": Alternating,
    "tbgl": Tbgl,
    "lwcl": Lwcl,
    "rhg": Rhg,
    "truncated-rhg": TruncatedRhg,
    "bda": Bda,
    "cg": Cg,
    "neumann": Neumann,
    "f2sa": lambda: F2sa(penalty=1e4),
}
TOLERANCE, STILL, LIMIT = 2e-4, 1e-6, 400
HEAD = ["solver", "step, ms", "/ rhg", "lwcl / it", "peak, n-vectors", "MB", "still", "error", "to 2e-4", "ms to it"]


class Toy:
    """Eq. 9 with a = c = 2: min (t - a)^2 + |w - a - c|^2, w_i in argmin sin(t + w_i - c_i)."""

    theta_names, omega_names = ("theta",), ("omega",)

    def __init__(self, n: int) -> None:
        self.theta = (torch.tensor(3.0, dtype=torch.float64, requires_grad=True),)
        self.omega = (torch.full((n,), 3.0, dtype=torch.float64).requires_grad_(),)
        self.best = ((1 - n) * 2 + n * 1.5 * math.pi) / (1 + n)

    def couple(self, _: Any) -> tuple[Tensor, ...]:
        return self.theta

    def upper(self, x: Any, omega: Any, _: Any) -> Tensor:
        return (x[0] - 2) ** 2 + (omega[0] - 4).square().sum()

    def lower(self, x: Any, omega: Any, _: Any) -> Tensor:
        return torch.sin(x[0] + omega[0] - 2).sum()


class Run:
    """A solver on the toy problem, from its start."""

    def __init__(self, solver: str, n: int, steps: int) -> None:
        self.problem, self._solver = Toy(n), SOLVERS[solver]()
        rates = zip((self.problem.theta, self.problem.omega), (0.2 / (1 + n), 0.8), strict=True)
        self._state = self._solver.init(self.problem, [optim.SGD(level, lr=rate) for level, rate in rates])
        self._batches = Batches(None, [None], steps)

    def step(self) -> None:
        """Take one outer step."""
        self._state, _ = self._solver.step(self.problem, self._state, self._batches)

    def theta(self) -> float:
        """Return theta."""
        return self.problem.theta[0].item()


def answer(solver: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Time a few steps, measure one, or run until theta stands still."""
    run = Run(solver, request["n"], request["steps"])
    if request["do"] == "converge":
        return converge(run)
    run.step()
    if request["do"] == "memory":
        return {"bytes": peak_bytes(run.step)}
    begun = time.perf_counter()
    for _ in range(request["count"]):
        run.step()
    return {"seconds": (time.perf_counter() - begun) / request["count"]}


def converge(run: Run) -> dict[str, Any]:
    """Return the steps until theta stands still, the error there, and the steps until the error stays small."""
    errors: list[float] = []
    still = None
    for number in range(1, LIMIT + 1):
        before = run.theta()
        run.step()
        errors.append(abs(run.theta() / run.problem.best - 1))
        if abs(run.theta() - before) <= STILL * abs(before):
            still = number
            break
    large = max((number for number, error in enumerate(errors, 1) if error > TOLERANCE), default=0)
    return {"still": still, "error": errors[-1], "reached": large + 1 if large < len(errors) else None}


def measure(
    contenders: Mapping[str, Contender], n: int, steps: int, given: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, dict[str, Any]]]:
    """Return the seconds a step in each round, and what each contender needs, of those that take so many steps."""
    takes = {}
    for name, contender in contenders.items():
        with contextlib.suppress(RuntimeError):  # tbgl takes one lower step only
            takes[name] = contender.ask(do="memory", n=n, steps=steps)
    count = max(1, min(20, int(given.work / (n + 1000) / steps)))
    request = {"do": "time", "n": n, "steps": steps, "count": count}
    seconds = interleave(contenders, given.repeats, dict.fromkeys(takes, request))
    return seconds, {
        name: found | contenders[name].ask(do="converge", n=n, steps=steps) for name, found in takes.items()
    }


def row(name: str, n: int, times: Sequence[float], found: Mapping[str, Any]) -> list[str]:
    """Return the cells of a solver, except the ratios."""
    median = 1000 * statistics.median(times)
    reached = found["reached"]
    return [
        name,
        f"{median:.3g}",
        f"{found['bytes'] / 8 / n:.2f}",
        f"{found['bytes'] / 1e6:.3g}",
        "-" if found["still"] is None else str(found["still"]),
        f"{found['error']:.1e}",
        "-" if reached is None else str(reached),
        "-" if reached is None else f"{reached * median:.3g}",
    ]


def main() -> None:
    """Measure, print, write."""
    arguments = parser(__doc__, repeats=9, solvers=SOLVERS)
    arguments.add_argument("--sizes", default="100,1000,10000,100000", help="n for every solver")
    arguments.add_argument("--large", default="1000000,10000000", help="n for the table of lwcl")
    arguments.add_argument("--lower", type=int, default=20, help="lower steps in the table where all take the same")
    arguments.add_argument("--work", type=float, default=4e6, help="elements times lower steps in a round")
    given = arguments.parse_args()
    sections, raced = [], {}
    commands = {name: [sys.executable, __file__, "--serve", name] for name in given.solvers.split(",")}
    with contextlib.ExitStack() as stack:
        contenders = {
            name: stack.enter_context(Contender(command, given.threads, given.hold))
            for name, command in commands.items()
        }
        for steps in (given.lower, 1):
            for n in (int(text) for text in given.sizes.split(",")):
                seconds, found = raced[steps, n] = measure(contenders, n, steps, given)
                rows = []
                for name, times in seconds.items():
                    cells = row(name, n, times, found[name])
                    ratios = [ratio(times, seconds["rhg"]), ratio(seconds["lwcl"], times)]
                    rows.append([*cells[:2], *(f"{value:.2f}" for value in ratios), *cells[2:]])
                sections.append(f"## n = {n}, {steps} lower step{'s' if steps > 1 else ''}\n\n{table(HEAD, rows)}")
        sections.append(against(raced, given))
        alone = {"lwcl": contenders["lwcl"]}
        rows = []
        for n in (int(text) for text in given.large.split(",") if text):
            seconds, found = measure(alone, n, 1, given)
            rows.append([str(n), *row("lwcl", n, seconds["lwcl"], found["lwcl"])[1:]])
        head = ["n", *(cell for cell in HEAD[1:] if "/" not in cell)]
        sections.append(f"## lwcl alone, 1 lower step\n\n{table(head, rows)}")
    publish("toy", __doc__, sections, given.results, conditions(given))


def against(raced: Mapping[tuple[int, int], Any], given: argparse.Namespace) -> str:
    """Return the table of lwcl with one lower step against rhg with many: step, and time to the same error."""
    rows = []
    for n in (int(text) for text in given.sizes.split(",")):
        (fast, own), (slow, its) = raced[1, n], raced[given.lower, n]
        times = [statistics.median(seconds) for seconds in (fast["lwcl"], slow["rhg"])]
        cells = ["-", "-"]
        reached = [own["lwcl"]["reached"], its["rhg"]["reached"]]
        if None not in reached:
            cells = [f"{reached[1] * times[1] / (reached[0] * times[0]):.1f}", f"{reached[0]} / {reached[1]}"]
        rows.append([str(n), f"{times[1] / times[0]:.1f}", *cells])
    head = ["n", "step of rhg / of lwcl", f"time to {TOLERANCE:g} of rhg / of lwcl", "outer steps of lwcl / of rhg"]
    return f"## lwcl with 1 lower step against rhg with {given.lower}\n\n{table(head, rows)}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(lambda request: answer(sys.argv[2], request))
    else:
        main()
