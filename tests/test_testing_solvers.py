"""The conformance kit refuses solvers that break a rule, one at a time, and says which."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from restore_hub.bilevel.solvers import Cg, F2sa, Ibgl, Joint, State
from restore_hub.contracts import Batches
from restore_hub.errors import BilevelError
from restore_hub.testing import check_solver


class Idle(Cg):
    """Does nothing, and says nothing."""

    def step(self, problem: Any, state: Any, batches: Batches) -> Any:
        return state, {}


def _afterwards(change: Callable[[Any, Any, dict[str, Any]], None]) -> type[Cg]:
    """Return a solver that spoils something after each step; its attributes begin empty."""

    class Spoilt(Cg):
        seen: Any = ()

        def step(self, problem: Any, state: Any, batches: Batches) -> Any:
            state, logs = super().step(problem, state, batches)
            change(self, problem, logs)
            return state, logs

    return Spoilt


def _without_step(level: int) -> type[Cg]:
    """Return a solver that puts a level back after each step."""

    class Still(Cg):
        def step(self, problem: Any, state: Any, batches: Batches) -> Any:
            leaf = (*problem.theta, *problem.omega)[level]
            before = leaf.detach().clone()
            found = super().step(problem, state, batches)
            leaf.data.copy_(before)
            return found

    return Still


def _with_state(**methods: Any) -> type[Cg]:
    """Return a solver whose state has other methods."""

    class Stateful(Cg):
        def init(self, problem: Any, optimizers: Any) -> State:
            return type("Own", (State,), methods)(super().init(problem, optimizers).optimizers)

    return Stateful


def _drift(solver: Any, problem: Any, _: dict[str, Any]) -> None:
    """Move omega by something that no state keeps."""
    solver.seen = (*solver.seen, 1)
    problem.omega[0].data.add_(len(solver.seen))


def _spoil_gradient(_solver: Any, problem: Any, _logs: dict[str, Any]) -> None:
    problem.theta[0].grad = problem.theta[0].grad + 1


class Eager(Cg):
    """Takes zero lower steps for one."""

    def step(self, problem: Any, state: Any, batches: Batches) -> Any:
        return super().step(problem, state, Batches(batches.upper, batches.lower, max(batches.steps, 1)))


class Clumsy(Cg):
    def step(self, problem: Any, state: Any, batches: Batches) -> Any:
        return super().step(problem, state, Batches(batches.upper, batches.lower, 1 // batches.steps))


class Counting(Cg):
    def __init__(self, count: Any = 0) -> None:
        super().__init__()
        self.count = count

    def evaluations(self, lower_steps: int) -> Any:
        return self.count


class Bare(Cg):
    def init(self, problem: Any, optimizers: Any) -> Any:
        return optimizers


class Picky(Cg):
    def init(self, problem: Any, optimizers: Any) -> Any:
        raise BilevelError("I want Adam")


class Failing(Cg):
    def step(self, problem: Any, state: Any, batches: Batches) -> Any:
        return problem.beside


class Alone(Cg):
    def step(self, problem: Any, state: Any, batches: Batches) -> Any:
        return super().step(problem, state, batches)[1]


class StillJoint(Joint):
    def step(self, problem: Any, state: Any, batches: Batches) -> Any:
        return state, {"loss": problem.energy(batches.lower[0]).detach()}


class Half:
    levels = 2
    responds = True

    def init(self) -> None: ...


class Neither(Cg):
    levels = 3


class Unsure(Cg):
    responds = None  # type: ignore[assignment]


WRONG: dict[str, tuple[Any, str]] = {
    "levels": (Neither, "levels is not 1 or 2"),
    "responds": (Unsure, "responds is not a bool"),
    "methods": (Half, "Half has no method 'step'"),
    "no evaluations": (Counting(0), r"evaluations\(1\) is 0: return how many"),
    "evaluations of another type": (Counting(2.0), r"evaluations\(1\) is 2.0: return"),
    "evaluations that are a truth": (Counting(True), r"evaluations\(1\) is True: return"),
    "init": (Picky, "Picky.init fails with plain SGD: BilevelError: I want Adam"),
    "state": (Bare, "the state of Bare has no method 'state_dict': return `new_state"),
    "step fails": (Failing, "Failing.step fails on a quadratic: AttributeError"),
    "step returns": (Alone, r"must return \(state, logs\), logs a dict, but returns dict"),
    "does nothing": (Idle, r"Idle logs \[\]: log the energy as 'loss/upper'"),
    "loss of the upper level": (_afterwards(lambda *a: a[2].pop("loss/upper")), "log the energy as 'loss/upper'"),
    "not finite": (_afterwards(lambda *a: a[2].update(s=math.nan)), "logs 's' as nan: log a finite number"),
    "text": (_afterwards(lambda *a: a[2].update(s="1")), "logs 's' as '1': log a finite number"),
    "a vector": (_afterwards(lambda *a: a[2].update(s=torch.ones(2))), "logs 's' as tensor.*0-dim"),
    "a graph": (
        _afterwards(lambda *a: a[2].update(s=a[1].theta[0].sum())),
        "logs 's' as tensor.*that is detached",
    ),
    "theta": (_without_step(0), "leaves theta where it was: step its optimizer"),
    "omega": (_without_step(1), "leaves omega where it was: step its optimizer"),
    "variables of one level": (StillJoint, "StillJoint leaves w where it was"),
    "no gradient": (
        _afterwards(lambda *a: setattr(a[1].theta[0], "grad", None)),
        "another gradient than its `.grad` holds: step with `step_upper`",
    ),
    "another gradient": (_afterwards(_spoil_gradient), "another gradient than its `.grad` holds"),
    "cannot be saved": (_with_state(state_dict=lambda _: {"f": lambda: 0}), "cannot be saved by torch.save"),
    "no plain containers": (
        _with_state(state_dict=lambda _: {"r": random.Random(0)}),
        "does not come back from a file: `state_dict\\(\\)` must return plain containers",
    ),
    "cannot be loaded": (_with_state(load_state_dict=lambda _, saved: saved["none"]), "does not come back.*KeyError"),
    "forgets": (_afterwards(_drift), "steps elsewhere once resumed: keep all"),
    "zero lower steps": (Eager, "Eager must refuse zero lower steps with BilevelError, but takes them"),
    "refuses by accident": (Clumsy, "but fails with ZeroDivisionError: call `check_batches`"),
}


@pytest.mark.parametrize(("solver", "said"), WRONG.values(), ids=WRONG)
def test_a_solver_that_breaks_a_rule_is_told(solver: Any, said: str) -> None:
    with pytest.raises(AssertionError, match=said) as caught:
        check_solver(solver)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("groups", ["sample", 4])
def test_solvers_with_options_and_instances_pass(groups: Any) -> None:
    """One with groups, one that remembers more than its optimizers, and one made already, which stays as it was."""
    check_solver(Ibgl, groups=groups)
    check_solver(F2sa, penalty=100.0)
    solver = _afterwards(lambda own, *_: setattr(own, "seen", 1))()
    check_solver(solver)
    assert solver.seen == ()


def test_the_check_leaves_the_random_state() -> None:
    before = torch.get_rng_state()
    check_solver(_afterwards(lambda _, problem, __: problem.omega[0].data.add_(torch.rand(2)))())
    assert torch.equal(torch.get_rng_state(), before)
