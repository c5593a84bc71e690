"""What one outer step of each solver costs on the RAW chain, as ratios measured in one interleaved run.

`python benchmarks/step_cost.py` prints a Markdown table: each solver's step over that of `alternating`, over a
plain implementation of the same gradient, which keeps theta in every graph instead of working on the detached
output of the upper block, and of the step under `precision: bf16` and with `accumulate: 2` over the step without.
Both levels share one batch (`share_batch`), where the fast path pays most. Networks are channels-last, as in a run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from restore_hub.contracts import Batches
from restore_hub.plan import build_chain, make_plan
from restore_hub.plan.objectives import Objectives
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from restore_hub.train.problem import Batch, ChainProblem, problem_of

PIPELINE = Path(__file__).resolve().parent.parent / "pipelines" / "raw_lowlight.yaml"
LOWER_STEPS = {"alternating": 5, "tbgl": 1, "ibgl": 5, "lwcl": 1}
RADIUS = 0.01


def problem() -> ChainProblem:
    """Return the bilevel stage of the shipped pipeline, freshly initialised."""
    plan = make_plan(read_spec(PIPELINE), default_registry())
    torch.manual_seed(0)
    chain = build_chain(plan).to(memory_format=torch.channels_last)
    losses = {name: part.make() for name, part in plan.losses.items()}
    objectives = Objectives(losses, {name: part.inputs for name, part in plan.losses.items()})
    made = problem_of(chain, objectives, plan.spec.stages[-1])
    assert isinstance(made, ChainProblem)
    return made


def batch(size: int) -> Batch:
    """Return random packed planes and pictures, two of them, the planes `size` pixels a side."""
    return [{"raw": torch.rand(2, 4, size, size), "rgb": torch.rand(2, 3, 2 * size, 2 * size)}]


def fast(name: str, data: Batch) -> Callable[[], None]:
    """Return one outer step of a registered solver."""
    made, solver = problem(), default_registry().find("solver", name).load()()
    optimizers = [torch.optim.SGD(made.theta, lr=1e-4), torch.optim.SGD(made.omega, lr=1e-4)]
    state = solver.init(made, optimizers)
    return lambda: solver.step(made, state, Batches(data, [data], LOWER_STEPS[name]))


def bf16(name: str, data: Batch) -> Callable[[], None]:
    """Return the solver's step inside autocast, as a run takes it under `precision: bf16`."""
    step = fast(name, data)

    def under_autocast() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            step()

    return under_autocast


def parts(name: str, data: Batch) -> Callable[[], None]:
    """Return the solver's step on the same batch in two parts."""
    return fast(name, [{key: tensor[half : half + 1] for key, tensor in data[0].items()} for half in (0, 1)])


def plain(name: str, data: Batch) -> Callable[[], None]:
    """Return the same step written down directly: every energy from theta on, a backward pass for each gradient."""
    made = problem()
    grad = torch.autograd.grad

    def upper() -> Tensor:
        return made.upper(made.couple(data), made.omega, data)

    def lower() -> Tensor:
        return made.lower(made.couple(data), made.omega, data)

    def descend() -> tuple[Tensor, ...]:
        for _ in range(LOWER_STEPS[name]):
            move(made.omega, grad(lower(), made.omega, allow_unused=True), 1e-4)
        return grad(upper(), made.theta)

    def step() -> None:
        direct = descend()
        if name in ("ibgl", "lwcl"):
            g_u, g_l = grad(upper(), made.omega, allow_unused=True), grad(lower(), made.omega, allow_unused=True)
            pairs = [(u, g) for u, g in zip(g_u, g_l, strict=True) if u is not None and g is not None]
            s = sum((u * g).sum() for u, g in pairs) / sum((g * g).sum() for _, g in pairs)
            direct = tuple(d - s * t for d, t in zip(direct, grad(lower(), made.theta), strict=True))
        if name == "tbgl":
            v = grad(upper(), made.omega, allow_unused=True)
            length = torch.sqrt(sum((t * t).sum() for t in v if t is not None))
            move(made.omega, v, RADIUS / length)
            ahead = grad(lower(), made.theta)
            move(made.omega, v, -2 * RADIUS / length)
            behind = grad(lower(), made.theta)
            move(made.omega, v, RADIUS / length)
            ends = zip(direct, ahead, behind, strict=True)
            direct = tuple(d + 1e-4 * (a - b) * length / (2 * RADIUS) for d, a, b in ends)
        move(made.theta, direct, 1e-4)

    return step


def move(tensors: tuple[Tensor, ...], along: tuple[Tensor | None, ...], length: float | Tensor) -> None:
    """Subtract `length * along` in place."""
    with torch.no_grad():
        for tensor, direction in zip(tensors, along, strict=True):
            if direction is not None:
                tensor -= length * direction


def main() -> None:
    """Time all contenders in turn and print their median ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="side of the packed planes")
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    data = batch(arguments.size)
    steps = {(kind.__name__, name): kind(name, data) for name in LOWER_STEPS for kind in (fast, plain, bf16, parts)}
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in steps}
    for step in steps.values():
        step()
    for _ in range(arguments.repeats):
        for key, step in steps.items():
            begun = time.perf_counter()
            step()
            seconds[key].append(time.perf_counter() - begun)

    def ratio(key: tuple[str, str], other: tuple[str, str]) -> float:
        return statistics.median(a / b for a, b in zip(seconds[key], seconds[other], strict=True))

    side = arguments.size
    threads = torch.get_num_threads()
    print(f"planes 2x4x{side}x{side}, one batch at both levels, {threads} threads, median of {arguments.repeats}\n")
    print("| solver | lower steps | step / alternating | / plain implementation | bf16 / float32 | two parts / one |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, count in LOWER_STEPS.items():
        own = ("fast", name)
        ratios = (
            ratio(own, ("fast", "alternating")),
            ratio(own, ("plain", name)),
            ratio(("bf16", name), own),
            ratio(("parts", name), own),
        )
        print(f"| {name} | {count} | {' | '.join(f'{value:.2f}' for value in ratios)} |")


if __name__ == "__main__":
    main()
