"""What solvers refuse: levels, optimizers, options and batches that they can't use."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import optim
from torch.optim.optimizer import register_optimizer_step_post_hook

from restore_hub.bilevel.solvers import Alternating, Bda, Cg, F2sa, Ibgl, Joint, Lwcl, Neumann, Rhg, Tbgl, TruncatedRhg
from restore_hub.contracts import Batches
from restore_hub.errors import OptionError
from restore_hub.options import check_options, options_of
from support import refused
from support.level_pair import Chain, batch, feed, run, sgd


def test_steps_batches_and_variables_that_no_solver_takes(kind: Any) -> None:
    """Of a variable that is twice in omega, energies would see two tensors, and the step follow one gradient."""
    for batches, code, got in (
        (feed("one", 0), "one-lower-step" if kind is Tbgl else "no-lower-steps", 0),
        (Batches(batch(0), [batch(1)], 2.5), "one-lower-step" if kind is Tbgl else "no-lower-steps", 2.5),
        (Batches(batch(0), [], steps=1), "lower-batches", 0),
    ):
        with refused(f"bilevel.{code}", got=got):
            run(kind(), Chain(), batches)
    pair = Chain()
    with refused("bilevel.lbfgs", "optimizers[0]"):
        kind().init(pair, [optim.LBFGS(pair.theta), optim.SGD(pair.omega, lr=0.1)])
    optimizers = sgd(pair)
    pair.omega = (*pair.omega, pair.omega[0])
    with refused("bilevel.repeated-variable", "omega"):
        kind().init(pair, optimizers)
    pair.omega = (*pair.omega[:-1], pair.theta[0])
    with refused("bilevel.shared-variable"):
        kind().init(pair, sgd(pair))


def test_only_alternating_takes_an_upper_energy_without_omega(kinds: list[Any]) -> None:
    for kind in kinds:
        pair = Chain()
        pair.upper = lambda x, _omega, _batch: (x[0] * x[1]).square().sum()
        if kind is Alternating:
            run(kind(), pair, feed("one", 1))
            assert pair.theta[0].grad.abs().max() > 0
        else:
            with refused("bilevel.no-gradient", "F_upper", group="omega"):
                run(kind(), pair, feed("one", 1))


def test_tbgl_takes_one_lower_step_and_an_optimizer_that_it_knows() -> None:
    pair = Chain()
    with refused("bilevel.one-lower-step", "tbgl", got=2):
        run(Tbgl(), pair, feed("one", 2))
    with refused("bilevel.lower-setting", "SGD", setting="momentum"):
        Tbgl().init(pair, [sgd(pair)[0], optim.SGD(pair.omega, lr=0.1, momentum=0.9)])


def test_optimizers_must_hold_their_levels_variables() -> None:
    pair = Chain()
    with refused("bilevel.optimizer-count", got=1, levels=2):
        Ibgl().init(pair, sgd(pair)[:1])
    with refused("bilevel.other-variables", "optimizers[0]"):
        Ibgl().init(pair, sgd(pair)[::-1])
    with refused("bilevel.other-variables", "optimizers[1]"):
        Ibgl().init(pair, [sgd(pair)[0], optim.SGD(pair.omega[:1], lr=0.1)])


def test_an_upper_coupling_that_is_not_a_tuple_is_refused(kind: Any) -> None:
    pair, batches = Chain(), feed("one", 1)
    solver = kind()
    state = solver.init(pair, sgd(pair))
    plain = pair.couple
    pair.couple = lambda batch: plain(batch)[0] if batch is batches.upper else plain(batch)
    with refused("bilevel.coupling-not-a-tuple", got="Tensor"):
        solver.step(pair, state, batches)


@pytest.mark.parametrize("level", ["theta", "omega"])
def test_variables_that_are_not_real_are_refused(level: str) -> None:
    pair = Chain()
    setattr(pair, level, tuple(t.detach().to(torch.complex128).requires_grad_() for t in getattr(pair, level)))
    with refused("bilevel.variable-not-real", got="torch.complex128"):
        Rhg().init(pair, sgd(pair))


@pytest.mark.parametrize("when", ["pre", "post", "global"])
@pytest.mark.parametrize("kind", [Rhg, TruncatedRhg, Bda, Tbgl])
def test_hooks_on_a_differentiated_step_are_refused_at_init_and_later(kind: Any, when: str) -> None:
    """Reverse mode would skip them, and tbgl would take a clipped step for one along the whole gradient."""
    pair, solver = Chain(), kind()
    state = solver.init(pair, sgd(pair))
    registers = {
        "pre": state.optimizers[1].register_step_pre_hook,
        "post": state.optimizers[1].register_step_post_hook,
        "global": register_optimizer_step_post_hook,
    }
    handle = registers[when](lambda *_: None)
    before = [w.detach().clone() for w in pair.omega]
    try:
        with refused("bilevel.lower-hooks"):
            solver.init(pair, state.optimizers)
        with refused("bilevel.lower-hooks"):
            solver.step(pair, state, feed("one", 1))
    finally:
        handle.remove()
    torch.testing.assert_close([w.detach() for w in pair.omega], before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("solver", "optimizer", "code", "place"),
    [
        (Rhg(), lambda p: optim.RMSprop(p), "bilevel.lower-optimizer", "RMSprop"),
        (TruncatedRhg(), lambda p: optim.Adam(p, amsgrad=True), "bilevel.lower-setting", "Adam"),
        (Bda(), lambda p: optim.Adagrad(p), "bilevel.lower-optimizer", "Adagrad"),
        (Neumann(), lambda p: optim.Adam(p), "bilevel.series-without-rate", "Adam"),
        (Neumann(), lambda p: optim.SGD(p, lr=0.1, momentum=0.9), "bilevel.series-without-rate", "SGD"),
        (Neumann(), lambda p: optim.SGD(p, lr=0.1, maximize=True), "bilevel.lower-maximises", "SGD"),
        (Cg(), lambda p: optim.RMSprop(p, maximize=True), "bilevel.lower-maximises", "RMSprop"),
    ],
)
def test_an_unsuitable_lower_optimizer_is_refused_at_init(solver: Any, optimizer: Any, code: str, place: str) -> None:
    pair = Chain()
    with refused(code, place):
        solver.init(pair, [sgd(pair)[0], optimizer(pair.omega)])


@pytest.mark.parametrize("kind", [Cg, partial(Neumann, rate=0.05), Rhg, TruncatedRhg, Bda])
def test_a_response_that_does_not_exist_is_an_error_not_zero(kind: Any) -> None:
    pair = Chain()
    pair.lower = lambda _x, omega, _batch: sum(w.square().sum() for w in omega)
    pair.upper = lambda x, omega, _batch: omega[0].square().sum() + x[0].sum()
    if kind is Bda:
        pair.upper = lambda x, omega, _batch: omega[0].sum() + x[0].sum()
    with refused("bilevel.no-gradient", "dF_lower/domega", group="x"):
        run(kind(), pair, feed("one", 2))


def test_options_are_typed(kinds: list[Any]) -> None:
    assert [options_of(kind) for kind in (Joint, Alternating, Rhg)] == [[], [], []]
    for kind in (Ibgl, Lwcl):
        assert check_options("solver", kind, {"cap": 5}) == {"cap": 5.0}
        assert check_options("solver", kind, {"cap": None}) == {"cap": None}
    assert check_options("solver", Neumann, {"rate": None, "iterations": 3}) == {"rate": None, "iterations": 3}
    assert [kind.levels for kind in (Joint, *kinds)] == [1] + [2] * len(kinds)
    assert [kind for kind in (Joint, *kinds) if not kind.responds] == [Joint, Alternating]


def test_levels_that_share_memory_are_refused() -> None:
    for part in (slice(None), slice(2, None)):
        pair = Chain()
        pair.omega = (pair.theta[0].detach()[part].requires_grad_(),)
        with refused("bilevel.shared-variable"):
            Rhg().init(pair, [optim.SGD(pair.theta, lr=0.1), optim.SGD(pair.omega, lr=0.1)])
    pair, whole = Chain(), torch.zeros(10, dtype=torch.float64)  # as parts of one flat vector
    pair.theta, pair.omega = (whole[:4].requires_grad_(),), (whole[4:].requires_grad_(),)
    Rhg().init(pair, [optim.SGD(pair.theta, lr=0.1), optim.SGD(pair.omega, lr=0.1)])


@pytest.mark.parametrize(
    ("kind", "option", "value", "code"),
    [
        (Ibgl, "cap", 1.0, "bad-cap"),
        (Lwcl, "cap", 1.0, "bad-cap"),
        (Ibgl, "groups", "samples", "bad-groups"),
        (Ibgl, "groups", 2.5, "bad-groups"),
        (Ibgl, "groups", 0, "bad-groups"),
        (Ibgl, "damping", -1.0, "negative"),
        (Tbgl, "radius", 0.0, "not-positive"),
        (TruncatedRhg, "last", 0, "not-a-count"),
        (TruncatedRhg, "last", 1.5, "not-a-count"),
        (Bda, "weight", 0.0, "bad-weight"),
        (Bda, "weight", 1.0, "bad-weight"),
        (Cg, "iterations", 0, "not-a-count"),
        (Cg, "iterations", 2.5, "not-a-count"),
        (Cg, "damping", -1.0, "negative"),
        (Cg, "damping", math.inf, "negative"),
        (Cg, "tolerance", -1.0, "negative"),
        (Neumann, "iterations", 0, "not-a-count"),
        (Neumann, "damping", math.nan, "negative"),
        (Neumann, "rate", 0.0, "not-positive"),
        (F2sa, "penalty", 0.0, "not-positive"),
    ],
)
def test_options_out_of_range_are_refused(kind: Any, option: str, value: Any, code: str) -> None:
    with refused(f"bilevel.{code}", option, OptionError):
        kind(**{option: value})
