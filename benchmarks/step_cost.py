"""The cost of one outer step of each solver on the RAW chain of the pipeline: a RAW U-Net above, Retinex below.

There is a table for one batch at both levels (`share_batch`), where the fast path saves most, and one for two batches.
Each entry is the ratio of a solver's step to

- `alternating`: the step of `alternating` with as many lower steps and the same fast path;
- `plain`: a plain implementation of the same gradient, which keeps theta in every graph instead of working on the
  detached output of the upper block, and takes a backward pass for each gradient;
- `bare`: only the forward and backward passes that the solver takes.

`bf16` is the step with `precision: bf16` over the step without, `parts` that with `accumulate: 2` over that with 1.
`--compiled` adds the step with blocks compiled by `torch.compile` for the given shapes, over that without; the first
steps, which compile, don't count. This needs a C++ compiler and takes minutes.
Networks are channels-last, as in a run. `--size 256` is the size of the papers' crops of 512 pixels.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from arena.contest import Contender, interleave, ratio, serve
from arena.results import conditions, parser, publish, table
from restore_hub.batch import Batch
from restore_hub.contracts import Batches
from restore_hub.plan import build_chain, make_plan
from restore_hub.plan.objectives import Objectives
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from restore_hub.train.problems.chain import TrainableChain
from restore_hub.train.problems.chain_pair import ChainPair
from restore_hub.train.problems.trainable import of_stage

PIPELINE = Path(__file__).resolve().parent.parent / "pipelines" / "raw_lowlight.yaml"
RADIUS, RATE = 0.01, 1e-4
FIRST_ORDER = ("alternating", "tbgl", "ibgl")  # those with plain and bare implementations below
grad = torch.autograd.grad


class Case(NamedTuple):
    """A solver, its lower steps, and the batches of the upper and the lower level: the same object where shared."""

    solver: str
    steps: int
    above: Batch
    below: Batch


CASES: list[tuple[str, int]] = [("alternating", 1), ("alternating", 5), ("tbgl", 1), ("ibgl", 1), ("ibgl", 5)]
CASES += [("rhg", 1), ("rhg", 5), ("cg", 5), ("neumann", 5), ("f2sa", 1), ("f2sa", 5)]


def problem(compiled: bool = False) -> ChainPair:
    """Return the bilevel stage of the shipped pipeline, freshly initialised, each of its blocks compiled or not."""
    plan = make_plan(read_spec(PIPELINE), default_registry())
    torch.manual_seed(0)
    chain = build_chain(plan).to(memory_format=torch.channels_last)
    losses = {name: part.make() for name, part in plan.losses.items()}
    for block in chain.blocks.values() if compiled else ():
        # With `fullgraph`, a graph break or too many graphs is an error instead of a fall-back to eager code.
        block.compile(fullgraph=True, dynamic=False)
    objectives = Objectives(losses, {name: part.inputs for name, part in plan.losses.items()})
    made = of_stage(TrainableChain(plan, chain, objectives, {}, {}), plan.spec.stages[-1])[0]
    assert isinstance(made, ChainPair)
    return made


def batch(size: int) -> Batch:
    """Return random packed planes and pictures, two of them, the planes `size` pixels a side."""
    return Batch({"raw": torch.rand(2, 4, size, size), "rgb": torch.rand(2, 3, 2 * size, 2 * size)})


def fast(case: Case, compile_blocks: bool = False) -> Callable[[], None]:
    """Return one outer step of a registered solver."""
    made, solver = problem(compile_blocks), default_registry().find("solver", case.solver).load()()
    optimizers = [torch.optim.SGD(made.theta, lr=RATE), torch.optim.SGD(made.omega, lr=RATE)]
    state = solver.init(made, optimizers)
    return lambda: solver.step(made, state, Batches(case.above, [case.below], case.steps))


def bf16(case: Case) -> Callable[[], None]:
    """Return the solver's step inside autocast, as a run takes it under `precision: bf16`."""
    step = fast(case)

    def under_autocast() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            step()

    return under_autocast


def parts(case: Case) -> Callable[[], None]:
    """Return the solver's step on the same batches in two parts."""
    below = halves(case.below)
    return fast(case._replace(below=below, above=below if case.above is case.below else halves(case.above)))


def halves(data: Batch) -> Batch:
    """Return a batch of two samples as two parts."""
    return Batch.of_parts(data.split([1, 1]))


def compiled(case: Case) -> Callable[[], None]:
    """Return the solver's step with each block compiled by itself."""
    return fast(case, compile_blocks=True)


def bare(case: Case) -> Callable[[], None]:
    """Return only the passes of the solver's step, without optimizers, checks and norms."""
    made, responds = problem(), case.solver != "alternating"
    shared = case.above is case.below

    def cut(x: tuple[Tensor, ...], needed: bool = True) -> tuple[Tensor, ...]:
        return tuple(t.detach().requires_grad_(needed) for t in x)

    def step() -> None:
        if responds and not shared:
            x, x_above = made.couple_both(case.below, case.above)
        else:
            with torch.set_grad_enabled(shared):
                x = x_above = made.couple(case.below)
        for _ in range(case.steps):
            grad(made.lower(cut(x, False), made.omega, case.below), made.omega, allow_unused=True)
        below = cut(x)
        response: tuple[Tensor, ...] = ()
        if not (responds or shared):
            x_above = made.couple(case.above)
        above = cut(x_above)
        leaves = (*above, *made.omega) if responds else above
        if case.solver == "ibgl" and shared:
            lower, upper = made.both(above, made.omega, case.above)
            response = grad(lower, leaves, retain_graph=True, allow_unused=True)
        else:
            if case.solver == "ibgl":
                response = grad(made.lower(below, made.omega, case.below), (*below, *made.omega), allow_unused=True)
            upper = made.upper(above, made.omega, case.above)
        direct = grad(upper, leaves, allow_unused=True)
        if case.solver == "tbgl":
            fixed = cut(made.omega, False)
            for _ in range(2):
                response = grad(made.lower(below, fixed, case.below), below)
        cotangents = direct[: len(x)]
        if not responds or shared:
            grad(x_above, made.theta, cotangents)
        else:
            grad((*x_above, *x), made.theta, (*cotangents, *response[: len(x)]))

    return step


def plain(case: Case) -> Callable[[], None]:
    """Return the same step written plainly: every energy starts from theta, with a backward pass for each gradient."""
    made = problem()

    def upper() -> Tensor:
        return made.upper(made.couple(case.above), made.omega, case.above)

    def lower() -> Tensor:
        return made.lower(made.couple(case.below), made.omega, case.below)

    def step() -> None:
        for _ in range(case.steps):
            along = grad(lower(), made.omega, allow_unused=True)
            move(made.omega, along, RATE)
        direct = grad(upper(), made.theta)
        if case.solver == "ibgl":
            g_u, g_l = grad(upper(), made.omega, allow_unused=True), grad(lower(), made.omega, allow_unused=True)
            pairs = [(u, g) for u, g in zip(g_u, g_l, strict=True) if u is not None and g is not None]
            s = sum((u * g).sum() for u, g in pairs) / sum((g * g).sum() for _, g in pairs)
            direct = tuple(d - s * t for d, t in zip(direct, grad(lower(), made.theta), strict=True))
        if case.solver == "tbgl":
            v = grad(upper(), made.omega, allow_unused=True)
            length = torch.sqrt(sum((t * t).sum() for t in v if t is not None))
            move(made.omega, along, -RATE)  # the difference is around the point before the step
            move(made.omega, v, RADIUS / length)
            ahead = grad(lower(), made.theta)
            move(made.omega, v, -2 * RADIUS / length)
            behind = grad(lower(), made.theta)
            move(made.omega, v, RADIUS / length)
            move(made.omega, along, RATE)
            ends = zip(direct, ahead, behind, strict=True)
            direct = tuple(d + RATE * (a - b) * length / (2 * RADIUS) for d, a, b in ends)
        move(made.theta, direct, RATE)

    return step


def move(tensors: tuple[Tensor, ...], along: tuple[Tensor | None, ...], length: float | Tensor) -> None:
    """Subtract `length * along` in place."""
    with torch.no_grad():
        for tensor, direction in zip(tensors, along, strict=True):
            if direction is not None:
                tensor -= length * direction


KINDS: dict[str, Callable[[Case], Callable[[], None]]] = {
    kind.__name__: kind for kind in (fast, plain, bare, bf16, parts, compiled)
}


def worker(solver: str, steps: int, size: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what times one step of a kind at each request; the first one of a kind does not count."""
    torch.set_flush_denormal(True)
    first, second = batch(size), batch(size)
    made: dict[tuple[str, bool], Callable[[], None]] = {}

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        key = (request["kind"], request["shared"])
        if key not in made:
            made[key] = KINDS[key[0]](Case(solver, steps, first if key[1] else second, first))
        begun = time.perf_counter()
        made[key]()
        return {"seconds": time.perf_counter() - begun}

    return answer


def kinds_of(solver: str, kinds: list[str]) -> list[str]:
    """Return which kinds are measured of a solver."""
    return kinds if solver in FIRST_ORDER else ["fast"]


def rows_of(cases: list[tuple[str, int]], changes: list[str], seconds: dict[str, list[float]]) -> list[list[str]]:
    """Return the rows of one table."""

    def cell(name: str, other: str) -> str:
        return f"{ratio(seconds[name], seconds[other]):.2f}" if name in seconds and other in seconds else "-"

    rows = []
    for solver, steps in cases:
        own = f"{solver} {steps}"
        cells = [cell(f"{own} fast", f"{other} fast") for other in (f"alternating {steps}",)]
        cells += [cell(f"{own} fast", f"{own} {other}") for other in ("plain", "bare")]
        cells += [cell(f"{own} {kind}", f"{own} fast") for kind in changes]
        rows.append([solver, str(steps), f"{statistics.median(seconds[f'{own} fast']):.3g}", *cells])
    return rows


def main() -> None:
    """Time all contenders in turn, write their median ratios."""
    arguments = parser(__doc__, repeats=9, solvers=dict(CASES))
    arguments.add_argument("--size", type=int, default=64, help="side of the packed planes")
    arguments.add_argument("--compiled", action="store_true", help="time compiled blocks too")
    given = arguments.parse_args()
    changes = ["bf16", "parts", *(["compiled"] if given.compiled else [])]
    cases = [case for case in CASES if case[0] in given.solvers.split(",")]
    sections = []
    with contextlib.ExitStack() as stack:
        commands = {
            f"{solver} {steps}": [sys.executable, __file__, "--serve", solver, str(steps), str(given.size)]
            for solver, steps in cases
        }
        workers = {
            name: stack.enter_context(Contender(command, given.threads, given.hold))
            for name, command in commands.items()
        }
        for shared in (True, False):
            kinds = ["fast", "plain", "bare", *changes]
            keys = {f"{solver} {steps} {kind}": kind for solver, steps in cases for kind in kinds_of(solver, kinds)}
            seconds = interleave(
                {key: workers[key.rpartition(" ")[0]] for key in keys},
                given.repeats,
                {key: {"kind": kind, "shared": shared} for key, kind in keys.items()},
            )
            head = ["solver", "lower steps", "step, s", "/ alternating", "/ plain", "/ bare"]
            head += changes
            batches = "one batch at both levels" if shared else "a batch for each level"
            sections.append(
                f"## planes 2x4x{given.size}x{given.size}, {batches}\n\n{table(head, rows_of(cases, changes, seconds))}"
            )
    publish("step_cost", __doc__, sections, given.results, conditions(given))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(worker(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    else:
        main()
