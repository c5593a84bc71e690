"""LwCL, Table VI: hyper-cleaning of digits, with half of the training labels wrong and the pipeline `hyper_cleaning`.

- `F1` of the kept samples against those with a correct label, and the test `accuracy`: the mean over the seeds, which
  choose samples, wrong labels and batches, next to the lowest and the highest F1.
- `step`: one outer step with its lower steps, without making batches.
- `/ bare`: the step over the bare gradients that it needs, taken by `torch.autograd.grad` (by `torch.func.vmap` for
  groups): the lower steps' g_l, g_u, and on the last lower batch g_l and dF_lower/dx or, for `truncated-rhg`, the last
  step's g_l in a graph and one product through it.
- `rhg / it`: how many times longer the step of `rhg` takes.

All have the pipeline's optimizers and rates, and the same batches. `alternating` can't start, because theta acts on
F_upper only through the lower level; so it keeps every sample.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from arena.contest import Contender, interleave, ratio, serve
from arena.results import conditions, parser, publish, table
from restore_hub.bilevel.solvers import Alternating, Cg, F2sa, Lwcl, Neumann, Rhg, TruncatedRhg
from restore_hub.contracts import Batches
from restore_hub.errors import BilevelError
from restore_hub.train.optimizers import make_optimizer
from restore_hub.train.problems.plugin_pair import ProblemPair
from restore_hub.train.problems.trainable import of_stage
from restore_hub.train.setup import set_up

PIPELINE = Path(__file__).resolve().parent.parent / "pipelines" / "hyper_cleaning.yaml"
SOLVERS: dict[str, Callable[[], Any]] = {
    "lwcl groups=100": lambda: Lwcl(groups=100),
    "lwcl groups=sample": lambda: Lwcl(groups="sample"),
    "lwcl": Lwcl,
    "rhg": Rhg,
    "truncated-rhg last=1": lambda: TruncatedRhg(last=1),
    "cg": lambda: Cg(damping=0.01),
    "neumann": Neumann,
    "f2sa": F2sa,
    "alternating": Alternating,
}
BARE = ("lwcl groups=100", "lwcl groups=sample", "lwcl", "truncated-rhg last=1")  # whose gradients `bare` takes


class Run:
    """A solver on the pipeline's stage."""

    def __init__(self, solver: str, seed: int = 0, settings: Sequence[str] = ()) -> None:
        overrides = ["tracker=", f"seed={seed}", f"problem.data_seed={seed}", *settings]
        self.setup = set_up(PIPELINE, overrides, [], "cpu")
        self.stage = self.setup.plan.spec.stages[0]
        problem = of_stage(self.setup.trainable, self.stage)[0]
        assert isinstance(problem, ProblemPair)
        self.problem, self._solver, self._taken = problem, SOLVERS[solver](), 0
        self.groups = getattr(self._solver, "groups", None)
        pairs = zip(self.stage.levels, (problem.theta, problem.omega), strict=True)
        self._state = self._solver.init(problem, [make_optimizer(*pair) for pair in pairs])
        self._streams = [self.setup.stream(level.data, f"level {i}") for i, level in enumerate(self.stage.levels)]

    def batches(self) -> Batches:
        """Return the batches of the next outer step, with a fresh one for each lower step."""
        count = self.stage.levels[1].steps
        lower = [self._streams[1].batch(self._taken * count + i) for i in range(count)]
        self._taken += 1
        return Batches(self._streams[0].batch(self._taken), lower, count)

    def step(self, batches: Batches) -> None:
        """Take one outer step."""
        self._state, _ = self._solver.step(self.problem, self._state, batches)


def bare(run: Run, batches: Batches, solver: str) -> None:
    """Take only the gradients of one outer step of a solver."""
    problem, grad, batch = run.problem, torch.autograd.grad, batches.lower[-1]
    theta = tuple(t.detach() for t in problem.theta)
    truncated = solver.startswith("truncated")
    for one in batches.lower[: -1 if truncated else None]:
        grad(problem.lower(theta, problem.omega, one), problem.omega)
    g_u = grad(problem.upper(theta, problem.omega, batches.upper), problem.omega)
    if truncated:
        g_l = grad(problem.lower(problem.theta, problem.omega, batch), problem.omega, create_graph=True)
        grad(g_l, problem.theta, g_u)
    elif "groups" in solver:
        problem.lower_groups(problem.theta, problem.omega, batch, run.groups)
    else:
        grad(problem.lower(problem.theta, problem.omega, batch), (*problem.theta, *problem.omega))


def answer(solver: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Train, or time steps or their bare gradients."""
    run = Run(solver, request.get("seed", 0), request["settings"])
    if request["do"] == "train":
        with contextlib.suppress(BilevelError):  # alternating
            for _ in range(request["steps"]):
                run.step(run.batches())
        return {**run.setup.trainable.evaluate().means}
    work = run.step if request["do"] == "step" else lambda batches: bare(run, batches, solver)
    made = [run.batches() for _ in range(request["count"] + 1)]
    work(made[0])
    begun = time.perf_counter()
    for batches in made[1:]:
        work(batches)
    return {"seconds": (time.perf_counter() - begun) / request["count"]}


def main() -> None:
    """Measure, print, write."""
    arguments = parser(__doc__, repeats=9, solvers=SOLVERS)
    arguments.add_argument("--steps", type=int, default=400, help="outer steps of each training")
    arguments.add_argument("--seeds", type=int, default=5, help="number of seeds")
    arguments.add_argument("--count", type=int, default=10, help="steps in a round")
    arguments.add_argument(
        "--set", action="append", default=[], help="change the pipeline: KEY=VALUE, as for restore-hub"
    )
    given = arguments.parse_args()
    solvers = given.solvers.split(",")
    compared = [name for name in BARE if name in solvers]
    with contextlib.ExitStack() as stack:
        contenders = {
            name: stack.enter_context(Contender([sys.executable, __file__, "--serve", name], given.threads, given.hold))
            for name in solvers
        }
        trained = {
            name: [
                contender.ask(do="train", seed=seed, steps=given.steps, settings=given.set)
                for seed in range(given.seeds)
            ]
            for name, contender in contenders.items()
        }
        timed = [name for name in solvers if name != "alternating"]
        requests = {name: {"do": "step", "count": given.count, "settings": given.set} for name in timed}
        requests |= {f"bare {name}": {"do": "bare", "count": given.count, "settings": given.set} for name in compared}
        asked = contenders | {f"bare {name}": contenders[name] for name in compared}
        seconds = interleave(asked, given.repeats, requests)
    rows = [row(name, trained[name], seconds) for name in solvers]
    head = ["solver", "F1", "least", "most", "accuracy", "step, ms", "/ bare", "rhg / it"]
    text = f"{given.steps} outer steps, {given.seeds} seeds\n\n{table(head, rows)}"
    publish("cleaning", __doc__, [text], given.results, conditions(given))


def row(name: str, trained: list[dict[str, Any]], seconds: Mapping[str, list[float]]) -> list[str]:
    """Return the cells of a solver."""
    f1 = [found["f1"] for found in trained]
    scores = (statistics.mean(f1), min(f1), max(f1), statistics.mean(found["accuracy"] for found in trained))
    cells = [name, *(f"{value:.3f}" for value in scores)]
    if name not in seconds:
        return [*cells, "-", "-", "-"]
    over_bare = f"{ratio(seconds[name], seconds[f'bare {name}']):.2f}" if name in BARE else "-"
    over_it = f"{ratio(seconds['rhg'], seconds[name]):.2f}"
    return [*cells, f"{1000 * statistics.median(seconds[name]):.3g}", over_bare, over_it]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(lambda request: answer(sys.argv[2], request))
    else:
        main()
