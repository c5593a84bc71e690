"""How near the hypergradient of a stage's solver comes to one to trust, on a tiny copy of the stage's problem."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn, optim

from restore_hub.bilevel import Start, Tensors, check_finite, cosine, norm
from restore_hub.bilevel.solvers import Rhg
from restore_hub.contracts import Batches, Solver
from restore_hub.errors import BilevelError
from restore_hub.spec import Stage
from restore_hub.train.optimizers import make_optimizer
from restore_hub.train.problems.chain import ChainPair, pair_of_chain
from restore_hub.train.problems.plugin import ProblemPair, pair_of_problem
from restore_hub.train.setup import Setup, set_up
from restore_hub.train.stepper import named
from restore_hub.trial.exact_hypergradients import SOLVED, at_optimum, direct_term, lower_gradient

SIDE = 32  # pixels
LATER = 50  # lower steps at least, for the second look
ITERATIONS = 200
NEAR = 1e-3  # |g_l| over that of the start, below which a lower level counts as solved


class Closeness(NamedTuple):
    """A vector against the one that it should be: cosine of the angle, and norm over norm; NaN for a zero reference."""

    cosine: float
    ratio: float


class Comparison(NamedTuple):
    """A solver's hypergradient against one reference.

    Attributes:
        reference: `optimum` (the lower level solved, implicit gradient) or `steps` (reverse mode through the lower
            steps of this outer step).
        lower_steps: taken so far, theta held still.
        whole: of G.
        response: of G - dF_upper/dtheta, the part that stands for the lower level's answer.
        share: norm of the reference's response over that of its G.
        sound: whether the reference is what it should be: not so for an optimum that was not reached, or that is flat.
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
        solver: its name in the spec.
        dtype: of the copy, `float64` where its blocks can run so.
        comparisons: at the start, then later.
        notes: what a person should know of the references.
    """

    stage: int
    solver: str
    dtype: str
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]


def check_hypergradients(
    spec: str | Path, *, overrides: Sequence[str] = (), plugins: Sequence[Path] = (), device: str = "cpu"
) -> list[Agreement]:
    """Compare the solver of each bilevel stage with trusted hypergradients by theta, on the first batches of its data.

    Pictures are cut to `SIDE` pixels, numbers are float64 where the blocks allow it, dropout is off. Theta is held
    still; the lower level takes its steps on one batch from the first weights, or from those that the spec loads, and
    is looked at after the lower steps of one outer step, and again after `LATER` lower steps or more.

    Raises:
        RestoreHubError: what the spec or its data lack; TrainingError where the solver fails or something is not
            finite.
    """
    found = []
    stages = set_up(spec, overrides, plugins, device).plan.spec.stages
    for index, stage in enumerate(stages):
        if len(stage.levels) == 2:
            # Made anew, since the blocks of the stage before were moved and made wider.
            with named(f"stage {index + 1}/{len(stages)} {stage.solver}, hypergradient"):
                found.append(_compare(set_up(spec, overrides, plugins, device), index, stage))
    return found


def _compare(setup: Setup, index: int, stage: Stage) -> Agreement:
    lower = stage.levels[1]
    problem, batches, dtype = _copy(setup, stage)
    optimizers = [optim.SGD(problem.theta, lr=0.0), make_optimizer(lower, problem.omega)]
    solver: Solver = setup.plan.solvers[index].make()
    state = solver.init(problem, optimizers)
    rounds = max(2, math.ceil(LATER / lower.steps)) if lower.restart == "warm" else 1
    comparisons: list[Comparison] = []
    scale = lower_gradient(problem, batches)
    notes: list[str] = []
    for number in range(1, rounds + 1):
        looking = number in (1, rounds)
        through = _through_steps(problem, optimizers, batches, notes) if looking else None
        for t in problem.theta:
            t.grad = None
        state, _ = solver.step(problem, state, batches)
        if looking:
            own = _gradient(problem)
            direct, taken = direct_term(problem, batches), number * lower.steps
            comparisons += _solved(problem, batches, own, direct, taken, scale, notes)
            if through is not None:
                comparisons.append(_comparison("steps", taken, own, direct, through, direct))
    return Agreement(index + 1, stage.solver, dtype, tuple(comparisons), tuple(dict.fromkeys(notes)))


def _copy(setup: Setup, stage: Stage) -> tuple[ChainPair | ProblemPair, Batches, str]:
    """Return the problem of a stage, float64 if it runs so, and tiny batches."""
    if setup.problem is not None:
        problem: Any = pair_of_problem(setup.problem, stage)
    else:
        assert setup.chain is not None
        problem = pair_of_chain(setup.chain, setup.objectives, stage)
    setup.blocks.to(memory_format=torch.contiguous_format)
    for module in setup.blocks.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    upper, lower = stage.levels
    below = [_tiny(setup, lower.data, 1, part) for part in range(lower.accumulate)]
    above = below if stage.share_batch else [_tiny(setup, upper.data, 0, part) for part in range(upper.accumulate)]
    narrow = Batches(above, [below], lower.steps)
    setup.blocks.double()
    setup.objectives.to(torch.float64)
    wide_below = [_double(part) for part in below]
    wide_above = wide_below if stage.share_batch else [_double(part) for part in above]
    wide = Batches(wide_above, [wide_below], lower.steps)
    try:
        direct_term(problem, wide)
        problem.lower(problem.couple(wide_below), problem.omega, wide_below)
    except BilevelError:
        raise
    except Exception:  # constants of a block or a loss that are float32, say; what else is wrong shows again
        setup.blocks.float()
        setup.objectives.to(torch.float32)
        return problem, narrow, "float32"
    return problem, wide, "float64"


def _tiny(setup: Setup, split: str, place: int, part: int) -> Mapping[str, Tensor]:
    """Return batch number `part` of a split, cut to `SIDE` pixels where its tensors are pictures."""
    batch = setup.stream(split, f"hypergradient {place}").batch(part, setup.device)
    if setup.chain is None:
        return batch
    ports = setup.plan.datasets[split].target.ports
    sides = {name: max(round(SIDE * ports[name].scale), 1) for name in batch}
    return {name: tensor[..., : sides[name], : sides[name]].contiguous() for name, tensor in batch.items()}


def _double(part: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in part.items()}


def _gradient(problem: ChainPair | ProblemPair) -> Tensors:
    """Return the hypergradient that a step has left in `.grad`; BilevelError where there is none, or no finite one."""
    if all(t.grad is None for t in problem.theta):
        raise BilevelError("the solver leaves no gradient in theta's `.grad`, so that there is nothing to compare")
    gradient = tuple(torch.zeros_like(t) if t.grad is None else t.grad.detach().clone() for t in problem.theta)
    check_finite(gradient, [f"the hypergradient by {name}" for name in problem.theta_names])
    return gradient


def _through_steps(
    problem: ChainPair | ProblemPair, optimizers: Sequence[optim.Optimizer], batches: Batches, notes: list[str]
) -> Tensors | None:
    """Return G by reverse mode through the lower steps that come next, none where that cannot be; omega is put back."""
    start, solver = Start(optimizers[1]), Rhg()
    try:
        solver.step(problem, solver.init(problem, optimizers), batches)
        return _gradient(problem)
    except BilevelError as error:
        notes.append(f"no reference through the lower steps: {error}")
        return None
    finally:
        start.restore()


def _solved(
    problem: ChainPair | ProblemPair,
    batches: Batches,
    own: Tensors,
    direct: Tensors,
    taken: int,
    scale: float,
    notes: list[str],
) -> list[Comparison]:
    try:
        found = at_optimum(problem, batches, ITERATIONS)
    except BilevelError as error:
        notes.append(f"no reference at the optimum: {error}")
        return []
    nearness = found.g_lower / scale if scale else 0.0
    if nearness > NEAR:
        notes.append(f"the lower level could be brought no nearer to its optimum than {nearness:.1g} of its gradient")
    if found.damping:
        notes.append(
            "the lower level is flat or not convex at its optimum, so that many answers are as good: its curvature is "
            f"damped by {found.damping:g} of the largest"
        )
    if found.residual > SOLVED:
        notes.append(f"the linear system of the reference is solved to {found.residual:.1g} only")
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
        tuple(g - d for g, d in zip(*pair, strict=True)) for pair in ((own, direct), (whole, its_direct))
    )
    length = norm(whole)
    share = norm(its_response) / length if length else math.nan
    return Comparison(reference, taken, _closeness(own, whole), _closeness(response, its_response), share, sound)


def _closeness(own: Tensors, reference: Tensors) -> Closeness:
    length = norm(reference)
    if length == 0:
        return Closeness(math.nan, math.nan)
    return Closeness(cosine(own, reference), norm(own) / length)
