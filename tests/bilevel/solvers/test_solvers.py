"""What all solvers promise: passes, evaluations, updates in place, errors, state, options."""

from __future__ import annotations

import io
import statistics
import warnings
from functools import partial
from typing import Any

import pytest
import torch
from torch import optim

from restore_hub.bilevel import norm_cap
from restore_hub.bilevel.solvers import Alternating, Bda, Cg, F2sa, Ibgl, Lwcl, Neumann, Rhg, Tbgl, TruncatedRhg
from restore_hub.contracts import Batches
from support import refused
from support.level_pair import RATE, Chain, batch, dot, feed, grads, run, sgd


def test_upper_block_runs_once_each_way_for_each_distinct_batch(kind: Any) -> None:
    k = 1 if kind is Tbgl else 4
    responds = kind.responds
    for case, graphs in (
        ("shared", [True]),
        ("one", [responds, True]),
        ("fresh", [kind in (Rhg, TruncatedRhg, Bda)] * (k - 1) + [responds, True]),
    ):
        pair = Chain()
        run(kind(), pair, feed(case, k))
        assert sorted(pair.forwards) == sorted(graphs)
        assert pair.backwards == (1 if case == "shared" else sum(graphs))


@pytest.mark.parametrize("kind", [Alternating, Tbgl, Ibgl, Lwcl, F2sa])
def test_evaluations_counts_the_energy_gradients(kind: Any) -> None:
    pair, k = Chain(), 1 if kind is Tbgl else 4
    run(kind(), pair, feed("one", k))
    assert pair.energies == kind().evaluations(k)


def test_evaluations_adds_the_products_with_a_hessian() -> None:
    """Each energy runs forward once for its gradient; what is beyond that goes through graphs that are there."""
    counts = {Rhg: (5, 9), TruncatedRhg: (5, 8), Bda: (9, 17), Cg: (6, 13), Neumann: (6, 26)}
    solvers = {Rhg: Rhg(), TruncatedRhg: TruncatedRhg(3), Bda: Bda(), Cg: Cg(iterations=7), Neumann: Neumann(rate=0.05)}
    for kind, solver in solvers.items():
        pair = Chain()
        run(solver, pair, feed("one", 4))
        assert (pair.energies, solver.evaluations(4)) == counts[kind], kind


@pytest.mark.parametrize("kind", [Alternating, Ibgl, Lwcl, F2sa, Cg, partial(Neumann, rate=0.05), Rhg, TruncatedRhg])
def test_omega_moves_as_by_its_optimizer_alone(kind: Any) -> None:
    """What a solver learns of the response leaves no trace at the lower level, but for bda, which mixes energies."""
    pair, plain, batches = Chain(), Chain(), feed("fresh", 3)
    for made, solver in ((pair, kind()), (plain, Alternating())):
        optimizers = [optim.SGD(made.theta, lr=0.3), optim.Adam(made.omega, lr=0.05)]
        state = solver.init(made, optimizers)
        for _ in range(2):
            optimizers[0].param_groups[0]["lr"] = 0.0
            state, _ = solver.step(made, state, batches)
    torch.testing.assert_close(pair.omega, plain.omega, rtol=1e-12, atol=1e-14)


def test_lower_updates_are_in_place_and_of_their_optimizer(kind: Any) -> None:
    kind = partial(Bda, weight=1e-15) if kind is Bda else kind  # next to nothing of F_upper in it
    pair, reference = Chain(), Chain()
    places = [w.data_ptr() for w in pair.omega]
    batches = feed("one", 1)
    run(kind(), pair, batches)
    x = tuple(t.detach() for t in reference.couple(batches.lower[0]))
    for w, old, g in zip(
        pair.omega,
        reference.omega,
        grads(reference.lower(x, reference.omega, batches.lower[0]), reference.omega),
        strict=True,
    ):
        torch.testing.assert_close(w, old - RATE * g, rtol=1e-14, atol=1e-15)
    if kind not in (Rhg, TruncatedRhg) and not isinstance(kind, partial):  # whose results are the ends of their graphs
        assert [w.data_ptr() for w in pair.omega] == places


def test_logs_hold_the_ratio_the_norms_and_the_cosine() -> None:
    pair, batches = Chain(), feed("one", 2)
    _, logs = run(Ibgl(), pair, batches)
    reference = Chain()
    for w, stepped in zip(reference.omega, pair.omega, strict=True):
        w.data.copy_(stepped.detach())
    x_l, x_u = reference.couple(batches.lower[0]), reference.couple(batches.upper)
    low = reference.lower(x_l, reference.omega, batches.lower[0])
    high = reference.upper(x_u, reference.omega, batches.upper)
    g_l, g_u, t = grads(low, reference.omega), grads(high, reference.omega), grads(low, x_l)
    s = (dot(g_l, g_u) / dot(g_l, g_l)).item()
    expected = {
        "s": s,
        "g_lower": dot(g_l, g_l).sqrt().item(),
        "cosine": (dot(g_l, g_u) / (dot(g_l, g_l) * dot(g_u, g_u)).sqrt()).item(),
        "response_norm": abs(s) * dot(t, t).sqrt().item(),
        "direct_norm": dot(*[grads(high, x_u)] * 2).sqrt().item(),
        "loss/upper": high.item(),
        "capped": 0.0,
    }
    assert {name: float(logs[name]) for name in expected} == pytest.approx(expected, rel=1e-12)
    assert logs.keys() - expected.keys() == {"loss/lower"}


def test_cap_cuts_an_outlier_and_says_so() -> None:
    pair, solver = Chain(), Ibgl(cap=2.0)
    state = solver.init(pair, sgd(pair, upper=1e-3))
    norms = []
    for i in range(12):
        state, logs = solver.step(pair, state, feed("one", 1))
        norms.append(logs["response_norm"])
        assert logs["capped"] == 0, i
    original = pair.upper
    pair.upper = lambda x, omega, data: 500 * original(x, omega, data)
    bound = 2 * statistics.median_low(state.history)
    state, logs = solver.step(pair, state, feed("one", 1))
    assert logs["capped"] == 1
    assert logs["response_norm"] == pytest.approx(bound)
    assert state.history[-1] > 100 * bound
    free = Ibgl(cap=None)
    state.history = norm_cap.new_history([1e-9] * 64)
    _, logs = free.step(pair, state, feed("one", 1))
    assert logs["capped"] == 0
    assert logs["response_norm"] > 10 * bound


def test_zero_sum_pair_on_one_batch_is_explained_and_leaves_theta() -> None:
    pair = Chain()
    pair.upper = lambda x, omega, data: -pair.lower(x, omega, data)
    before = [t.detach().clone() for t in pair.theta]
    with refused("bilevel.zero-sum"):
        run(Lwcl(), pair, feed("shared", 1))
    torch.testing.assert_close([t.detach() for t in pair.theta], before, rtol=0, atol=0)
    run(Lwcl(), pair, feed("one", 1))  # on separate batches their noise is left
    assert pair.theta[0].grad.abs().max() > 1e-6


@pytest.mark.parametrize("level", ["upper", "lower"])
def test_energy_that_is_not_finite_steps_nothing_further(kind: Any, level: str) -> None:
    pair = Chain()
    original = getattr(pair, level)
    setattr(pair, level, lambda *a: original(*a) * float("nan"))
    theta, omega = ([t.detach().clone() for t in group] for group in (pair.theta, pair.omega))
    with refused("bilevel.not-finite", f"value of F_{level}"):
        run(kind(), pair, feed("one", 1))
    torch.testing.assert_close([t.detach() for t in pair.theta], theta, rtol=0, atol=0)
    if level == "lower":
        torch.testing.assert_close([t.detach() for t in pair.omega], omega, rtol=0, atol=0)


def test_saved_state_continues_bit_for_bit(kind: Any) -> None:
    def adam(pair: Any, rate: float) -> list[optim.Optimizer]:
        return [optim.Adam(pair.theta, lr=rate), optim.Adam(pair.omega, lr=0.01, betas=(0.8, 0.95))]

    solver, pair = kind(), Chain()
    state = solver.init(pair, adam(pair, 0.02))
    for i in range(20):
        if i == 11:
            buffer = io.BytesIO()
            torch.save((state.state_dict(), pair.theta, pair.omega), buffer)
        state, logs = solver.step(pair, state, Batches(batch(2 * i), [batch(2 * i + 1)]))
    buffer.seek(0)
    saved, theta, omega = torch.load(buffer, weights_only=False)
    again = Chain()
    for live, kept in zip((*again.theta, *again.omega), (*theta, *omega), strict=True):
        live.data.copy_(kept.detach())
    resumed = solver.init(again, adam(again, 0.5))
    resumed.load_state_dict(saved)
    for i in range(11, 20):
        resumed, logs_again = solver.step(again, resumed, Batches(batch(2 * i), [batch(2 * i + 1)]))
    for a, b in zip((*again.theta, *again.omega), (*pair.theta, *pair.omega), strict=True):
        assert torch.equal(a, b)
    assert resumed.history == state.history
    assert logs_again == logs


def test_schedulers_of_both_levels_see_the_steps(kind: Any) -> None:
    pair, solver = Chain(), kind()
    optimizers = sgd(pair)
    schedulers = [optim.lr_scheduler.StepLR(optimizer, 1, 0.5) for optimizer in optimizers]
    solver.step(pair, solver.init(pair, optimizers), feed("one", 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scheduler in schedulers:
            scheduler.step()  # warns where no step was seen
    assert [o.param_groups[0]["lr"] / o.param_groups[0]["initial_lr"] for o in optimizers] == [0.5, 0.5]


@pytest.mark.parametrize("kind", [Cg, partial(Neumann, rate=0.05), F2sa, Ibgl, Alternating])
def test_methods_without_a_graph_take_any_lower_optimizer(kind: Any) -> None:
    pair, solver = Chain(), kind()
    before = [w.detach().clone() for w in pair.omega]
    state = solver.init(pair, [sgd(pair)[0], optim.RMSprop(pair.omega, lr=0.01, momentum=0.5)])
    solver.step(pair, state, feed("fresh", 2))
    assert all(not torch.equal(w, old) for w, old in zip(pair.omega, before, strict=True))
