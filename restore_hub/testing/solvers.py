"""The check of solvers: outer steps on a small problem in closed form, and the same after resuming."""

from __future__ import annotations

import copy
import io
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, optim

from restore_hub.bilevel import Grouping, Rows, rows_by_vmap
from restore_hub.contracts import Batches
from restore_hub.errors import BilevelError, reason_of
from restore_hub.testing.require import made, require

RATES = (0.2, 0.5)  # learning rates of theta and omega
SAMPLES = 8


def check_solver(target: Any, /, **options: Any) -> None:
    """Check a solver by two outer steps, of one lower step each, on a quadratic problem in float64 with plain SGD.

    It checks the attributes and methods; that theta and omega are stepped in place, theta along the gradient left in
    its `.grad`; that the logs are finite numbers without graphs; that a second solver takes the same step, bit for bit,
    from a state saved to a file; and that zero lower steps are refused. A solver with `levels = 1` gets a single level.

    Args:
        target: a class (made with `options`) or a solver, which stays as it was.
        options: options of the class.

    Raises:
        AssertionError: what failed, and what to do.
    """
    solver, name = made(target, options)
    _check_declaration(name, solver)
    trial = _begin(name, solver)
    start = trial.values()
    with torch.random.fork_rng(devices=[]):
        trial = _advance(name, trial)
        saved, values, randomness = _saved(name, trial.state), trial.values(), torch.get_rng_state()
        trial = _advance(name, trial)
        _check_movement(name, trial, start)
        again = _begin(name, solver)
        again.put(values)
        _load(name, again.state, saved)
        torch.set_rng_state(randomness)
        again = _advance(name, again)
    same = all(torch.equal(a, b) for a, b in zip(trial.values(), again.values(), strict=True))
    require(same, f"{name} steps differently after resuming: put all that the next step needs into `state_dict()`")
    _check_refusal(name, solver)


class _OneLevel:
    """F = |w - mean of the batch|^2 / 2 and the batch's spread; `restore_hub.contracts.SingleLevel`."""

    names = ("w",)

    def __init__(self) -> None:
        self.variables = (_leaf(0.2, -0.4),)

    def energy(self, batch: Tensor) -> Tensor:
        return 0.5 * (self.variables[0] - batch).square().sum(1).mean()


class _TwoLevels:
    """omega follows theta and the lower batch, and F_upper pulls it to the upper batch; a `GroupedPair`."""

    theta_names, omega_names = ("theta",), ("omega",)

    def __init__(self) -> None:
        self.theta, self.omega = (_leaf(0.2, -0.4),), (_leaf(0.7, 1.1),)

    @property
    def variables(self) -> tuple[Tensor, ...]:
        return (*self.theta, *self.omega)

    def couple(self, _: Tensor) -> tuple[Tensor, ...]:
        return self.theta

    def upper(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Tensor) -> Tensor:
        return 0.5 * (omega[0] - batch).square().sum(1).mean() + 0.5 * x[0].square().sum()

    def lower(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Tensor) -> Tensor:
        return 0.5 * (omega[0] - x[0] - batch).square().sum(1).mean()

    def lower_groups(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Tensor, groups: Grouping) -> Rows:
        m = len(batch) if groups == "sample" else groups
        return rows_by_vmap(lambda x, w, b: (self.lower(x, w, b) * len(b), len(b)), x, omega, batch.reshape(m, -1, 2))


class _Trial(NamedTuple):
    """A solver and its own copy of the problem."""

    solver: Any
    problem: Any
    leaves: tuple[Tensor, ...]
    state: Any

    def values(self) -> list[Tensor]:
        return [leaf.detach().clone() for leaf in self.leaves]

    def put(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for leaf, value in zip(self.leaves, values, strict=True):
                leaf.copy_(value)


def _leaf(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def _batches(levels: int, steps: int = 1) -> Batches:
    generator = torch.Generator().manual_seed(0)
    lower, upper = torch.randn((2, SAMPLES, 2), generator=generator, dtype=torch.float64) / 4
    return Batches(upper + 3 if levels == 2 else None, [lower], steps)


def _check_declaration(name: str, solver: Any) -> None:
    require(getattr(solver, "levels", None) in (1, 2), f"{name}.levels is not 1 or 2")
    require(isinstance(getattr(solver, "responds", None), bool), f"{name}.responds is not a bool")
    for method in ("init", "step", "evaluations"):
        require(callable(getattr(solver, method, None)), f"{name} has no method {method!r}")
    count = solver.evaluations(1)
    good = isinstance(count, int) and not isinstance(count, bool) and count >= 1
    require(good, f"{name}.evaluations(1) is {count!r}: return the number of energy gradients in a step, an int from 1")


def _begin(name: str, solver: Any) -> _Trial:
    """Return a copy of the original solver, at the start of a problem."""
    solver = copy.deepcopy(solver)
    problem: Any = _TwoLevels() if solver.levels == 2 else _OneLevel()
    levels = (problem.theta, problem.omega) if solver.levels == 2 else (problem.variables,)
    optimizers = [optim.SGD(v, lr=rate) for v, rate in zip(levels, RATES, strict=False)]
    try:
        state = solver.init(problem, optimizers)
    except Exception as error:
        raise AssertionError(f"{name}.init fails with plain SGD: {reason_of(error)}") from error
    for method in ("state_dict", "load_state_dict"):
        good = callable(getattr(state, method, None))
        require(good, f"the state of {name} has no method {method!r}: return `new_state(...)`, or a class like `State`")
    return _Trial(solver, problem, problem.variables, state)


def _advance(name: str, trial: _Trial) -> _Trial:
    """Take one outer step; check its logs, and that theta was stepped along its `.grad`."""
    levels, before = trial.solver.levels, trial.values()[0]
    for leaf in trial.leaves:
        leaf.grad = None
    try:
        result = trial.solver.step(trial.problem, trial.state, _batches(levels))
    except Exception as error:
        raise AssertionError(f"{name}.step fails on a quadratic: {reason_of(error)}") from error
    good = isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)
    require(good, f"{name}.step must return (state, logs) with a dict of logs, but returns {type(result).__name__}")
    _check_logs(name, result[1], "loss/upper" if levels == 2 else "loss")
    theta = trial.leaves[0]
    if levels == 2 and not torch.equal(theta, before):
        good = theta.grad is not None and torch.allclose(before - RATES[0] * theta.grad, theta.detach(), atol=1e-12)
        require(good, f"{name} doesn't step theta along the gradient in its `.grad`: use `step_upper`")
    return trial._replace(state=result[0])


def _check_logs(name: str, logs: dict[str, Any], loss: str) -> None:
    require(loss in logs, f"{name} logs {list(logs)}: also log the energy as {loss!r}")
    for key, value in logs.items():
        scalar = isinstance(value, Tensor) and value.ndim == 0 and not value.requires_grad
        good = (scalar or isinstance(value, (int, float))) and math.isfinite(float(value))
        require(good, f"{name} logs {key!r} as {value!r}: log a finite number, or a detached 0-dim tensor")


def _check_movement(name: str, trial: _Trial, start: list[Tensor]) -> None:
    names = ("theta", "omega") if trial.solver.levels == 2 else trial.problem.names
    for leaf, leaf_name, value in zip(trial.leaves, names, start, strict=True):
        moved = not torch.equal(leaf, value)
        require(moved, f"{name} doesn't change {leaf_name}: step its optimizer, which changes it in place")


def _saved(name: str, state: Any) -> io.BytesIO:
    buffer = io.BytesIO()
    try:
        torch.save(state.state_dict(), buffer)
    except Exception as error:
        raise AssertionError(f"the state of {name} cannot be saved by torch.save: {reason_of(error)}") from error
    buffer.seek(0)
    return buffer


def _load(name: str, state: Any, saved: io.BytesIO) -> None:
    try:
        state.load_state_dict(torch.load(saved, weights_only=True))
    except Exception as error:
        raise AssertionError(
            f"the state of {name} can't be loaded from a file: `state_dict()` must return plain containers of tensors "
            f"and numbers that `load_state_dict` accepts ({reason_of(error)})"
        ) from error


def _check_refusal(name: str, solver: Any) -> None:
    trial, found = _begin(name, solver), "accepts them"
    try:
        trial.solver.step(trial.problem, trial.state, _batches(solver.levels, steps=0))
    except BilevelError:
        return
    except Exception as error:
        found = f"fails with {type(error).__name__}"
    raise AssertionError(f"{name} must refuse zero lower steps by a BilevelError, but {found}: call `check_batches`")
