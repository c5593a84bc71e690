"""`check_solver` refuses solvers that each break one rule, and names the rule."""

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

_step = Cg.step


def _with(**attributes: Any) -> type[Cg]:
    """Return a solver that differs from `Cg` in some attributes."""
    return type("Mine", (Cg,), attributes)


def _afterwards(change: Callable[[Any, Any, dict[str, Any]], None]) -> type[Cg]:
    """Return a solver that breaks something after each step; `seen` is its own to use."""

    class Spoilt(Cg):
        seen: Any = ()

        def step(self, pair: Any, state: Any, batches: Batches) -> Any:
            state, logs = super().step(pair, state, batches)
            change(self, pair, logs)
            return state, logs

    return Spoilt


def _without_step(level: int) -> type[Cg]:
    """Return a solver that resets a level after each step."""

    class Still(Cg):
        def step(self, pair: Any, state: Any, batches: Batches) -> Any:
            leaf = (*pair.theta, *pair.omega)[level]
            before = leaf.detach().clone()
            found = super().step(pair, state, batches)
            leaf.data.copy_(before)
            return found

    return Still


def _with_state(**methods: Any) -> type[Cg]:
    """Return a solver whose state has other methods."""

    class Stateful(Cg):
        def init(self, pair: Any, optimizers: Any) -> State:
            return type("Own", (State,), methods)(super().init(pair, optimizers).optimizers)

    return Stateful


def _drift(solver: Any, pair: Any, _: dict[str, Any]) -> None:
    """Move omega by something that isn't in the state."""
    solver.seen = (*solver.seen, 1)
    pair.omega[0].data.add_(len(solver.seen))


def _spoil_gradient(_solver: Any, pair: Any, _logs: dict[str, Any]) -> None:
    pair.theta[0].grad = pair.theta[0].grad + 1


def _picky(*_: Any) -> None:
    raise BilevelError("mine.adam", what="I want Adam")


def _with_steps(of: Callable[[int], int]) -> type[Cg]:
    """Return a solver that takes another number of lower steps."""

    def step(own: Cg, pair: Any, state: Any, batches: Batches) -> Any:
        return _step(own, pair, state, Batches(batches.upper, batches.lower, of(batches.steps)))

    return _with(step=step)


class StillJoint(Joint):
    def step(self, pair: Any, state: Any, batches: Batches) -> Any:
        return state, {"loss": pair.energy(batches.lower[0]).detach()}


class Half:
    levels = 2
    responds = True

    def init(self) -> None: ...


WRONG: dict[str, tuple[Any, str]] = {
    "levels": (_with(levels=3), "levels is not 1 or 2"),
    "responds": (_with(responds=None), "responds is not a bool"),
    "methods": (Half, "Half has no method 'step'"),
    "no evaluations": (_with(evaluations=lambda *_: 0), r"evaluations\(1\) is 0: return the number"),
    "evaluations of another type": (_with(evaluations=lambda *_: 2.0), r"evaluations\(1\) is 2.0: return"),
    "evaluations that are a truth": (_with(evaluations=lambda *_: True), r"evaluations\(1\) is True: return"),
    "init": (_with(init=_picky), "Mine.init fails with plain SGD: BilevelError: I want Adam"),
    "state": (_with(init=lambda *given: given[2]), "the state of Mine has no method 'state_dict': return `new_state"),
    "step fails": (_with(step=lambda *given: given[1].beside), "Mine.step fails on a quadratic: AttributeError"),
    "step returns": (
        _with(step=lambda *given: _step(*given)[1]),
        r"must return \(state, logs\) with a dict of logs, but returns dict",
    ),
    "does nothing": (_with(step=lambda *given: (given[2], {})), r"Mine logs \[\]: also log the energy as 'loss/upper'"),
    "loss of the upper level": (_afterwards(lambda *a: a[2].pop("loss/upper")), "log the energy as 'loss/upper'"),
    "not finite": (_afterwards(lambda *a: a[2].update(s=math.nan)), "logs 's' as nan: log a finite number"),
    "text": (_afterwards(lambda *a: a[2].update(s="1")), "logs 's' as '1': log a finite number"),
    "a vector": (_afterwards(lambda *a: a[2].update(s=torch.ones(2))), "logs 's' as tensor.*0-dim"),
    "a graph": (_afterwards(lambda *a: a[2].update(s=a[1].theta[0].sum())), "logs 's' as tensor.*detached"),
    "theta": (_without_step(0), "doesn't change theta: step its optimizer"),
    "omega": (_without_step(1), "doesn't change omega: step its optimizer"),
    "variables of one level": (StillJoint, "StillJoint doesn't change w"),
    "no gradient": (
        _afterwards(lambda *a: setattr(a[1].theta[0], "grad", None)),
        "doesn't step theta along the gradient in its `.grad`: use `step_upper`",
    ),
    "another gradient": (_afterwards(_spoil_gradient), "doesn't step theta along"),
    "cannot be saved": (_with_state(state_dict=lambda _: {"f": lambda: 0}), "cannot be saved by torch.save"),
    "no plain containers": (
        _with_state(state_dict=lambda _: {"r": random.Random(0)}),
        "can't be loaded from a file: `state_dict\\(\\)` must return plain containers",
    ),
    "cannot be loaded": (_with_state(load_state_dict=lambda _, saved: saved["none"]), "can't be loaded.*KeyError"),
    "forgets": (_afterwards(_drift), "steps differently after resuming: put all"),
    "zero lower steps": (
        _with_steps(lambda steps: max(steps, 1)),
        "Mine must refuse zero lower steps by a BilevelError, but accepts them",
    ),
    "refuses by accident": (
        _with_steps(lambda steps: 1 // steps),
        "but fails with ZeroDivisionError: call `check_batches`",
    ),
}


@pytest.mark.parametrize(("solver", "message"), WRONG.values(), ids=WRONG)
def test_a_solver_that_breaks_a_rule_is_told(solver: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message) as caught:
        check_solver(solver)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("groups", ["sample", 4])
def test_solvers_with_options_and_instances_pass(groups: Any) -> None:
    """One has groups, one has more state than its optimizers, and one is an instance, which stays as it was."""
    check_solver(Ibgl, groups=groups)
    check_solver(F2sa, penalty=100.0)
    solver = _afterwards(lambda own, *_: setattr(own, "seen", 1))()
    check_solver(solver)
    assert solver.seen == ()


def test_the_check_leaves_the_random_state() -> None:
    before = torch.get_rng_state()
    check_solver(_afterwards(lambda _, pair, __: pair.omega[0].data.add_(torch.rand(2)))())
    assert torch.equal(torch.get_rng_state(), before)
