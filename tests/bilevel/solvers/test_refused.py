"""What solvers refuse: levels, optimizers, options and batches that they cannot take."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import optim
from torch.optim.optimizer import register_optimizer_step_post_hook

from restore_hub.bilevel.solvers import (
    Alternating,
    Bda,
    Cg,
    F2sa,
    Ibgl,
    Joint,
    Lwcl,
    Neumann,
    Rhg,
    Tbgl,
    TruncatedRhg,
)
from restore_hub.contracts import Batches
from restore_hub.errors import BilevelError, OptionError
from restore_hub.options import check_options, options_of


def test_a_step_without_lower_steps_is_refused(kit: Any, kind: Any) -> None:
    with pytest.raises(BilevelError, match=r"lower step.*, got .*0"):
        kit.run(kind(), kit.Chain(), kit.feed("one", 0))


def test_alternating_allows_an_upper_energy_without_omega_and_the_others_refuse_it(kit: Any, kinds: list[Any]) -> None:
    for kind in kinds:
        problem = kit.Chain()
        problem.upper = lambda x, _omega, _batch: (x[0] * x[1]).square().sum()
        if kind is Alternating:
            kit.run(kind(), problem, kit.feed("one", 1))
            assert problem.theta[0].grad.abs().max() > 0
        else:
            with pytest.raises(BilevelError, match="F_upper depends on no tensor of omega"):
                kit.run(kind(), problem, kit.feed("one", 1))


def test_tbgl_takes_one_lower_step_and_an_optimizer_that_it_knows(kit: Any) -> None:
    problem = kit.Chain()
    with pytest.raises(BilevelError, match="exactly one lower step, got 2"):
        kit.run(Tbgl(), problem, kit.feed("one", 2))
    with pytest.raises(BilevelError, match=r"momentum=0\.9"):
        Tbgl().init(problem, [kit.sgd(problem)[0], optim.SGD(problem.omega, lr=0.1, momentum=0.9)])


def test_optimizers_must_hold_their_levels_variables(kit: Any) -> None:
    problem = kit.Chain()
    with pytest.raises(BilevelError, match="takes 2 optimizers"):
        Ibgl().init(problem, kit.sgd(problem)[:1])
    with pytest.raises(BilevelError, match="optimizer 0 does not hold exactly the variables"):
        Ibgl().init(problem, kit.sgd(problem)[::-1])
    with pytest.raises(BilevelError, match="optimizer 1 does not hold"):
        Ibgl().init(problem, [kit.sgd(problem)[0], optim.SGD(problem.omega[:1], lr=0.1)])


def test_a_variable_that_is_twice_in_omega_is_refused(kit: Any, kind: Any) -> None:
    """Energies would see two tensors; the step would follow the gradient of one of them."""
    problem = kit.Chain()
    optimizers = kit.sgd(problem)
    problem.omega = (*problem.omega, problem.omega[0])
    with pytest.raises(BilevelError, match="a variable is twice in omega"):
        kind().init(problem, optimizers)


def test_a_coupling_of_the_upper_batch_that_is_no_tuple_is_refused(kit: Any, kind: Any) -> None:
    problem, batches = kit.Chain(), kit.feed("one", 1)
    solver = kind()
    state = solver.init(problem, kit.sgd(problem))
    plain = problem.couple
    problem.couple = lambda batch: plain(batch)[0] if batch is batches.upper else plain(batch)
    with pytest.raises(BilevelError, match="couple must return a tuple of tensors, got Tensor"):
        solver.step(problem, state, batches)


@pytest.mark.parametrize("level", ["theta", "omega"])
def test_variables_that_are_not_real_are_refused(kit: Any, level: str) -> None:
    problem = kit.Chain()
    setattr(problem, level, tuple(t.detach().to(torch.complex128).requires_grad_() for t in getattr(problem, level)))
    with pytest.raises(BilevelError, match=r"real numbers, got torch\.complex128"):
        Rhg().init(problem, kit.sgd(problem))


@pytest.mark.parametrize("when", ["pre", "post", "global"])
@pytest.mark.parametrize("kind", [Rhg, TruncatedRhg, Bda, Tbgl])
def test_hooks_that_would_not_count_are_refused_whenever_they_come(kit: Any, kind: Any, when: str) -> None:
    """Reverse mode would not run them, and tbgl take the clipped gradient's step for one along the whole."""
    problem, solver = kit.Chain(), kind()
    state = solver.init(problem, kit.sgd(problem))
    registers = {
        "pre": state.optimizers[1].register_step_pre_hook,
        "post": state.optimizers[1].register_step_post_hook,
        "global": register_optimizer_step_post_hook,
    }
    handle = registers[when](lambda *_: None)
    before = [w.detach().clone() for w in problem.omega]
    try:
        with pytest.raises(BilevelError, match="hooks"):
            solver.init(problem, state.optimizers)
        with pytest.raises(BilevelError, match="hooks"):
            solver.step(problem, state, kit.feed("one", 1))
    finally:
        handle.remove()
    torch.testing.assert_close([w.detach() for w in problem.omega], before, rtol=0, atol=0)


def test_a_variable_of_both_levels_is_refused(kit: Any, kind: Any) -> None:
    problem = kit.Chain()
    problem.omega = (*problem.omega, problem.theta[0])
    with pytest.raises(BilevelError, match="belongs to both levels"):
        kind().init(problem, kit.sgd(problem))


@pytest.mark.parametrize(
    ("solver", "optimizer", "words"),
    [
        (Rhg(), lambda p: optim.RMSprop(p), "no derivative of a step of RMSprop"),
        (TruncatedRhg(), lambda p: optim.Adam(p, amsgrad=True), "amsgrad=True"),
        (Bda(), lambda p: optim.Adagrad(p), "no derivative of a step of Adagrad"),
        (Neumann(), lambda p: optim.Adam(p), "give `rate` for another optimizer"),
        (Neumann(), lambda p: optim.SGD(p, lr=0.1, momentum=0.9), "give `rate` for another optimizer"),
        (Neumann(), lambda p: optim.SGD(p, lr=0.1, maximize=True), "maximises F_lower"),
        (Cg(), lambda p: optim.RMSprop(p, maximize=True), "maximises F_lower"),
    ],
)
def test_a_lower_optimizer_that_does_not_serve_is_refused_at_init(
    kit: Any, solver: Any, optimizer: Any, words: str
) -> None:
    problem = kit.Chain()
    with pytest.raises(BilevelError, match=words):
        solver.init(problem, [kit.sgd(problem)[0], optimizer(problem.omega)])


@pytest.mark.parametrize("kind", [Cg, partial(Neumann, rate=0.05), Rhg, TruncatedRhg, Bda])
def test_a_response_that_does_not_exist_is_an_error_not_zero(kit: Any, kind: Any) -> None:
    problem = kit.Chain()
    problem.lower = lambda _x, omega, _batch: sum(w.square().sum() for w in omega)
    problem.upper = lambda x, omega, _batch: omega[0].square().sum() + x[0].sum()
    if kind is Bda:
        problem.upper = lambda x, omega, _batch: omega[0].sum() + x[0].sum()
    with pytest.raises(BilevelError, match="dF_lower/domega depends on no tensor of x"):
        kit.run(kind(), problem, kit.feed("one", 2))


def test_options_are_typed_and_checked(kinds: list[Any]) -> None:
    assert [options_of(kind) for kind in (Joint, Alternating, Rhg)] == [[], [], []]
    for kind in (Ibgl, Lwcl):
        assert check_options("solver", kind, {"cap": 5}) == {"cap": 5.0}
        assert check_options("solver", kind, {"cap": None}) == {"cap": None}
    assert check_options("solver", Neumann, {"rate": None, "iterations": 3}) == {"rate": None, "iterations": 3}
    wrong = [
        (Ibgl, {"cap": 1.0}),
        (Lwcl, {"cap": 1.0}),
        (Tbgl, {"radius": 0.0}),
        (TruncatedRhg, {"last": 0}),
        (Bda, {"weight": 0.0}),
        (Bda, {"weight": 1.0}),
        (Cg, {"iterations": 0}),
        (Cg, {"damping": -1.0}),
        (Cg, {"tolerance": -1.0}),
        (Neumann, {"iterations": 0}),
        (Neumann, {"damping": float("nan")}),
        (Neumann, {"rate": 0.0}),
        (F2sa, {"penalty": 0.0}),
    ]
    for kind, options in wrong:
        with pytest.raises(OptionError, match=next(iter(options))):
            kind(**options)
    assert [kind.levels for kind in (Joint, *kinds)] == [1] + [2] * len(kinds)
    assert [kind for kind in (Joint, *kinds) if not kind.responds] == [Joint, Alternating]


def test_no_lower_batch_at_all_is_one_error_for_every_solver(kit: Any, kinds: list[Any]) -> None:
    for kind in kinds:
        with pytest.raises(BilevelError, match="0 lower batches for 1 lower steps"):
            kit.run(kind(), kit.Chain(), Batches(kit.batch(0), [], steps=1))


def test_levels_that_share_memory_are_refused(kit: Any) -> None:
    for part in (slice(None), slice(2, None)):
        problem = kit.Chain()
        problem.omega = (problem.theta[0].detach()[part].requires_grad_(),)
        with pytest.raises(BilevelError, match="a variable belongs to both levels"):
            Rhg().init(problem, [optim.SGD(problem.theta, lr=0.1), optim.SGD(problem.omega, lr=0.1)])
    problem, whole = kit.Chain(), torch.zeros(10, dtype=torch.float64)  # as parts of one flat vector
    problem.theta, problem.omega = (whole[:4].requires_grad_(),), (whole[4:].requires_grad_(),)
    Rhg().init(problem, [optim.SGD(problem.theta, lr=0.1), optim.SGD(problem.omega, lr=0.1)])


def test_optimizers_that_want_the_energy_and_parts_of_steps_are_refused(kit: Any, kind: Any) -> None:
    problem = kit.Chain()
    with pytest.raises(BilevelError, match="LBFGS evaluates the energy itself"):
        kind().init(problem, [optim.LBFGS(problem.theta), optim.SGD(problem.omega, lr=0.1)])
    if kind is not Tbgl:
        with pytest.raises(BilevelError, match=r"a number of lower steps, at least one, got steps=2\.5"):
            kit.run(kind(), problem, Batches(kit.batch(0), [kit.batch(1)], 2.5))


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (partial(TruncatedRhg, last=1.5), "last"),
        (partial(Cg, iterations=2.5), "iterations"),
        (partial(Cg, damping=float("inf")), "damping"),
        (partial(Ibgl, groups="samples"), "groups"),
        (partial(Ibgl, groups=2.5), "groups"),
    ],
)
def test_options_of_another_kind_are_refused(make: Any, option: str) -> None:
    with pytest.raises(OptionError, match=option):
        make()
