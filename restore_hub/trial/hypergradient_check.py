"""Compares the hypergradient of a stage's solver with exact ones, on a tiny copy of the stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn, optim

from restore_hub.batch import Batch, Value
from restore_hub.bilevel import Still, Tensors, check_finite, cosine, norm
from restore_hub.contracts import Batches, Solver
from restore_hub.errors import BilevelError
from restore_hub.port import SPATIAL
from restore_hub.spec import Level, Stage
from restore_hub.train.error_place import placed
from restore_hub.train.optimizers import make_optimizer
from restore_hub.train.problems.pure import check_pure
from restore_hub.train.problems.trainable import StagePair, live_levels, pairs_of
from restore_hub.train.setup import Setup, set_up
from restore_hub.trial.at_optimum import SOLVED, at_optimum
from restore_hub.trial.live import Live, lower_gradient, upper_gradients
from restore_hub.trial.through_steps import through_steps

SIDE = 32  # pixels
LATER = 50  # lower steps, at least, before the second comparison
ITERATIONS = 200
NEAR = 1e-3  # |g_l| relative to the start; a lower level below it counts as solved


class Closeness(NamedTuple):
    """A vector against its reference: cosine of the angle, and ratio of the norms; NaN for a zero reference."""

    cosine: float
    ratio: float


class Comparison(NamedTuple):
    """A solver's hypergradient against one reference.

    Attributes:
        reference: `optimum` (implicit gradient with the lower level solved) or `steps` (reverse mode through the lower
            steps of this outer step).
        lower_steps: lower steps taken so far, with theta fixed.
        whole: closeness of G.
        response: closeness of G - dF_upper/dtheta, the response of the lower level.
        share: norm of the reference's response, over that of its G.
        sound: whether the reference can be trusted; not if the optimum is flat or wasn't reached.
    """

    reference: str
    lower_steps: int
    whole: Closeness
    response: Closeness
    share: float
    sound: bool


class Agreement(NamedTuple):
    """A stage's solver against the references.

    Attributes:
        stage: its number, from 1.
        levels: numbers of the two levels, from 1.
        solver: its name in the spec.
        dtype: of the copy; `float64` if its blocks can run in it.
        comparisons: at the start, then later.
        notes: what a person should know about the references.
    """

    stage: int
    levels: tuple[int, int]
    solver: str
    dtype: str
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]


def check_hypergradients(
    spec: str | Path, *, overrides: Sequence[str] = (), plugins: Sequence[Path] = (), device: str = "cpu"
) -> list[Agreement]:
    """Compare the solvers of each stage of several levels with exact hypergradients, on the first batches of its data.

    Of three levels and more, each pair of adjacent ones is compared, with the levels below it where they are.

    Pictures are cut to `SIDE` pixels, tensors are float64 if the blocks allow it, and dropout is off. Theta is fixed.
    The lower level starts from the initial weights, or those that the spec loads, and takes its steps on one batch.
    The comparison is made after the lower steps of one outer step, and again after at least `LATER` lower steps.

    Raises:
        RestoreHubError: a mistake in the spec or its data.
        TrainingError: the solver fails, or a value isn't finite.
    """
    found = []
    stages = set_up(spec, overrides, plugins, device).plan.spec.stages
    for index, stage in enumerate(stages):
        for number in range(len(stage.levels) - 1):
            # A new setup, because the previous stage moved its blocks and turned them into float64.
            with placed(f"stage {index + 1}/{len(stages)} {stage.solver}, hypergradient"):
                found.append(_compare(set_up(spec, overrides, plugins, device), index, number))
    return found


def _compare(setup: Setup, index: int, number: int) -> Agreement:
    stage = setup.plan.spec.stages[index]
    lower = stage.levels[number + 1]
    pair, batches, dtype = _copy(setup, stage, number)
    live = _live(setup, stage.levels[number : number + 2], pair, batches)
    check_pure(setup.trainable, stage.levels, number, pair, batches)
    optimizers = [Still(pair.theta), make_optimizer(lower, pair.omega)]
    solver: Solver = setup.plan.solvers[index][number].make()
    state = solver.init(pair, optimizers)
    rounds = max(2, math.ceil(LATER / lower.steps)) if lower.restart == "warm" else 1  # a cold one starts over
    comparisons: list[Comparison] = []
    scale = norm(lower_gradient(live)[1])
    notes: list[str] = []
    for round_ in range(1, rounds + 1):
        compare = round_ in (1, rounds)
        through = _through_steps(live, optimizers[1], lower.steps, notes) if compare else None
        for t in pair.theta:
            t.grad = None
        state, _ = solver.step(pair, state, batches)
        if compare:
            own = _gradient(pair)
            direct, taken = upper_gradients(live)[0], round_ * lower.steps
            comparisons += _solved(live, own, direct, taken, scale, notes)
            if through is not None:
                comparisons.append(_comparison("steps", taken, own, direct, through, direct))
    use = stage.levels[number].solver
    name, levels = use.component if use else stage.solver, (number + 1, number + 2)
    return Agreement(index + 1, levels, name, dtype, tuple(comparisons), tuple(dict.fromkeys(notes)))


def _copy(setup: Setup, stage: Stage, number: int) -> tuple[StagePair, Batches, str]:
    """Return a pair of a stage and tiny batches, in float64 if the stage runs in it, and the dtype's name."""
    pair = pairs_of(setup.trainable, stage)[number]
    setup.blocks.to(memory_format=torch.contiguous_format)
    for module in setup.blocks.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    upper, lower = levels = stage.levels[number : number + 2]
    below = _tiny(setup, lower, 1)
    above = below if stage.share_batch else _tiny(setup, upper, 0)
    narrow = Batches(above, [below], lower.steps)
    setup.trainable.to(torch.float64)
    wide_below = below.to(torch.float64)
    wide_above = wide_below if stage.share_batch else above.to(torch.float64)
    wide = Batches(wide_above, [wide_below], lower.steps)
    pair.renew(wide_below)
    try:
        upper_gradients(_live(setup, levels, pair, wide))
        pair.lower(pair.couple(wide_below), pair.omega, wide_below)
    except BilevelError:
        raise
    except Exception:  # a block or a loss with float32 constants, say; any other error appears again later
        setup.trainable.to(torch.float32)
        pair.renew(below)
        return pair, narrow, "float32"
    return pair, wide, "float64"


def _live(setup: Setup, levels: Sequence[Level], pair: StagePair, batches: Batches) -> Live:
    """Return the energies of both levels as plain functions of what is in place."""
    upper, lower = live_levels(setup.trainable, levels, pair)
    return Live(pair.theta, pair.omega, lambda: upper.energy(batches.upper), lambda: lower.energy(batches.lower[-1]))


def _tiny(setup: Setup, level: Level, place: int) -> Batch:
    """Return the first batch of a level; if its tensors are pictures, cut to `SIDE` pixels."""
    (split,) = level.splits  # each level of several has one
    stream = setup.stream(split, f"hypergradient {place}")
    dataset = setup.plan.datasets.get(split)
    parts = [stream.batch(part).to(setup.device).tensors for part in range(level.accumulate)]
    if dataset is None:
        return Batch(*parts)
    ports, corner = dataset.target.ports, dict.fromkeys(SPATIAL, slice(0, SIDE))
    return Batch(*({name: _whole(ports[name].crop(value, corner)) for name, value in part.items()} for part in parts))


def _whole(value: Value) -> Value:
    return value.contiguous() if isinstance(value, Tensor) else value


def _gradient(pair: StagePair) -> Tensors:
    """Return the hypergradient that a step left in `.grad`; BilevelError if it's missing or not finite."""
    if all(t.grad is None for t in pair.theta):
        raise BilevelError("trial.no-gradient")
    gradient = tuple(torch.zeros_like(t) if t.grad is None else t.grad.detach().clone() for t in pair.theta)
    check_finite(gradient, [f"hypergradient by {name}" for name in pair.theta_names])
    return gradient


def _through_steps(live: Live, optimizer: optim.Optimizer, steps: int, notes: list[str]) -> Tensors | None:
    """Return G by reverse mode through the next lower steps, `None` if that isn't possible."""
    try:
        return through_steps(live, optimizer, steps)
    except BilevelError as error:
        notes.append(f"no reference through the lower steps: {error}")
        return None


def _solved(
    live: Live,
    own: Tensors,
    direct: Tensors,
    taken: int,
    scale: float,
    notes: list[str],
) -> list[Comparison]:
    try:
        found = at_optimum(live, ITERATIONS)
    except BilevelError as error:
        notes.append(f"no reference at the optimum: {error}")
        return []
    nearness = found.g_lower / scale if scale else 0.0
    if nearness > NEAR:
        notes.append(f"the search for the lower optimum stopped at {nearness:.1g} of the first gradient's norm")
    if found.damping:
        notes.append(
            "the lower level is flat or not convex at its optimum, so the response isn't unique: the curvature is "
            f"damped by {found.damping:g} of its largest value"
        )
    if found.residual > SOLVED:
        notes.append(f"the reference's linear system is only solved to a relative residual of {found.residual:.1g}")
    sound = nearness <= NEAR and not found.damping and found.residual <= SOLVED
    return [_comparison("optimum", taken, own, direct, found.whole, found.direct, sound)]


def _comparison(
    reference: str,
    taken: int,
    own: Tensors,
    direct: Tensors,
    whole: Tensors,
    its_direct: Tensors,
    sound: bool = True,
) -> Comparison:
    response, its_response = (
        tuple(g - d for g, d in zip(*both, strict=True)) for both in ((own, direct), (whole, its_direct))
    )
    length = norm(whole)
    share = norm(its_response) / length if length else math.nan
    return Comparison(reference, taken, _closeness(own, whole), _closeness(response, its_response), share, sound)


def _closeness(own: Tensors, reference: Tensors) -> Closeness:
    length = norm(reference)
    if length == 0:
        return Closeness(math.nan, math.nan)
    return Closeness(cosine(own, reference), norm(own) / length)
