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
from restore_hub.bilevel.solvers import (
    Alternating,
    Bda,
    Cg,
    F2sa,
    Ibgl,
    Lwcl,
    Neumann,
    Rhg,
    Tbgl,
    TruncatedRhg,
)
from restore_hub.contracts import Batches
from restore_hub.errors import BilevelError


def test_upper_block_runs_once_each_way_for_each_distinct_batch(kit: Any, kind: Any) -> None:
    k = 1 if kind is Tbgl else 4
    responds = kind.responds
    for case, graphs in (
        ("shared", [True]),
        ("one", [responds, True]),
        ("fresh", [kind in (Rhg, TruncatedRhg, Bda)] * (k - 1) + [responds, True]),
    ):
        problem = kit.Chain()
        kit.run(kind(), problem, kit.feed(case, k))
        assert sorted(problem.graphs) == sorted(graphs)
        assert problem.backwards == (1 if case == "shared" else sum(graphs))


@pytest.mark.parametrize("kind", [Alternating, Tbgl, Ibgl, Lwcl, F2sa])
def test_evaluations_counts_the_energy_gradients(kit: Any, kind: Any) -> None:
    problem, k = kit.Chain(), 1 if kind is Tbgl else 4
    kit.run(kind(), problem, kit.feed("one", k))
    assert problem.energies == kind().evaluations(k)


def test_evaluations_adds_the_products_with_a_hessian(kit: Any) -> None:
    """Each energy runs forward once for its gradient; what is beyond that goes through graphs that are there."""
    counts = {Rhg: (5, 9), TruncatedRhg: (5, 8), Bda: (9, 17), Cg: (6, 13), Neumann: (6, 26)}
    solvers = {Rhg: Rhg(), TruncatedRhg: TruncatedRhg(3), Bda: Bda(), Cg: Cg(iterations=7), Neumann: Neumann(rate=0.05)}
    for kind, solver in solvers.items():
        problem = kit.Chain()
        kit.run(solver, problem, kit.feed("one", 4))
        assert (problem.energies, solver.evaluations(4)) == counts[kind], kind


@pytest.mark.parametrize("kind", [Alternating, Ibgl, Lwcl, F2sa, Cg, partial(Neumann, rate=0.05), Rhg, TruncatedRhg])
def test_omega_moves_as_by_its_optimizer_alone(kit: Any, kind: Any) -> None:
    """What a solver learns of the response leaves no trace at the lower level, but for bda, which mixes energies."""
    problem, plain, batches = kit.Chain(), kit.Chain(), kit.feed("fresh", 3)
    for made, solver in ((problem, kind()), (plain, Alternating())):
        optimizers = [optim.SGD(made.theta, lr=0.3), optim.Adam(made.omega, lr=0.05)]
        state = solver.init(made, optimizers)
        for _ in range(2):
            optimizers[0].param_groups[0]["lr"] = 0.0
            state, _ = solver.step(made, state, batches)
    torch.testing.assert_close(problem.omega, plain.omega, rtol=1e-12, atol=1e-14)


def test_lower_updates_are_in_place_and_of_their_optimizer(kit: Any, kind: Any) -> None:
    kind = partial(Bda, weight=1e-15) if kind is Bda else kind  # next to nothing of F_upper in it
    problem, reference = kit.Chain(), kit.Chain()
    places = [w.data_ptr() for w in problem.omega]
    batches = kit.feed("one", 1)
    kit.run(kind(), problem, batches)
    x = tuple(t.detach() for t in reference.couple(batches.lower[0]))
    for w, old, g in zip(
        problem.omega,
        reference.omega,
        kit.grads(reference.lower(x, reference.omega, batches.lower[0]), reference.omega),
        strict=True,
    ):
        torch.testing.assert_close(w, old - kit.rate * g, rtol=1e-14, atol=1e-15)
    if kind not in (Rhg, TruncatedRhg) and not isinstance(kind, partial):  # whose results are the ends of their graphs
        assert [w.data_ptr() for w in problem.omega] == places


def test_logs_hold_the_ratio_the_norms_and_the_cosine(kit: Any) -> None:
    problem, batches = kit.Chain(), kit.feed("one", 2)
    _, logs = kit.run(Ibgl(), problem, batches)
    reference = kit.Chain()
    for w, stepped in zip(reference.omega, problem.omega, strict=True):
        w.data.copy_(stepped.detach())
    x_l, x_u = reference.couple(batches.lower[0]), reference.couple(batches.upper)
    low = reference.lower(x_l, reference.omega, batches.lower[0])
    high = reference.upper(x_u, reference.omega, batches.upper)
    g_l, g_u, t = kit.grads(low, reference.omega), kit.grads(high, reference.omega), kit.grads(low, x_l)
    s = (kit.dot(g_l, g_u) / kit.dot(g_l, g_l)).item()
    expected = {
        "s": s,
        "g_lower": kit.dot(g_l, g_l).sqrt().item(),
        "cosine": (kit.dot(g_l, g_u) / (kit.dot(g_l, g_l) * kit.dot(g_u, g_u)).sqrt()).item(),
        "response_norm": abs(s) * kit.dot(t, t).sqrt().item(),
        "direct_norm": kit.dot(*[kit.grads(high, x_u)] * 2).sqrt().item(),
        "loss/upper": high.item(),
        "capped": 0.0,
    }
    assert {name: float(logs[name]) for name in expected} == pytest.approx(expected, rel=1e-12)
    assert logs.keys() - expected.keys() == {"loss/lower"}


def test_cap_cuts_an_outlier_and_says_so(kit: Any) -> None:
    problem, solver = kit.Chain(), Ibgl(cap=2.0)
    state = solver.init(problem, kit.sgd(problem, upper=1e-3))
    norms = []
    for i in range(12):
        state, logs = solver.step(problem, state, kit.feed("one", 1))
        norms.append(logs["response_norm"])
        assert logs["capped"] == 0, i
    original = problem.upper
    problem.upper = lambda x, omega, data: 500 * original(x, omega, data)
    bound = 2 * statistics.median_low(state.history)
    state, logs = solver.step(problem, state, kit.feed("one", 1))
    assert logs["capped"] == 1
    assert logs["response_norm"] == pytest.approx(bound)
    assert state.history[-1] > 100 * bound
    free = Ibgl(cap=None)
    state.history = norm_cap.new_history([1e-9] * 64)
    _, logs = free.step(problem, state, kit.feed("one", 1))
    assert logs["capped"] == 0
    assert logs["response_norm"] > 10 * bound


def test_zero_sum_pair_on_one_batch_is_explained_and_leaves_theta(kit: Any) -> None:
    problem = kit.Chain()
    problem.upper = lambda x, omega, data: -problem.lower(x, omega, data)
    before = [t.detach().clone() for t in problem.theta]
    with pytest.raises(BilevelError, match=r"-1 times F_lower .*zero-sum"):
        kit.run(Lwcl(), problem, kit.feed("shared", 1))
    torch.testing.assert_close([t.detach() for t in problem.theta], before, rtol=0, atol=0)
    kit.run(Lwcl(), problem, kit.feed("one", 1))  # on separate batches their noise is left
    assert problem.theta[0].grad.abs().max() > 1e-6


@pytest.mark.parametrize("level", ["upper", "lower"])
def test_energy_that_is_not_finite_steps_nothing_further(kit: Any, kind: Any, level: str) -> None:
    problem = kit.Chain()
    original = getattr(problem, level)
    setattr(problem, level, lambda *a: original(*a) * float("nan"))
    theta, omega = ([t.detach().clone() for t in group] for group in (problem.theta, problem.omega))
    with pytest.raises(BilevelError, match=f"the value of F_{level} is not finite"):
        kit.run(kind(), problem, kit.feed("one", 1))
    torch.testing.assert_close([t.detach() for t in problem.theta], theta, rtol=0, atol=0)
    if level == "lower":
        torch.testing.assert_close([t.detach() for t in problem.omega], omega, rtol=0, atol=0)


def test_saved_state_continues_bit_for_bit(kit: Any, kind: Any) -> None:
    def adam(problem: Any, rate: float) -> list[optim.Optimizer]:
        return [optim.Adam(problem.theta, lr=rate), optim.Adam(problem.omega, lr=0.01, betas=(0.8, 0.95))]

    solver, problem = kind(), kit.Chain()
    state = solver.init(problem, adam(problem, 0.02))
    for i in range(20):
        if i == 11:
            buffer = io.BytesIO()
            torch.save((state.state_dict(), problem.theta, problem.omega), buffer)
        state, logs = solver.step(problem, state, Batches(kit.batch(2 * i), [kit.batch(2 * i + 1)]))
    buffer.seek(0)
    saved, theta, omega = torch.load(buffer, weights_only=False)
    again = kit.Chain()
    for live, kept in zip((*again.theta, *again.omega), (*theta, *omega), strict=True):
        live.data.copy_(kept.detach())
    resumed = solver.init(again, adam(again, 0.5))
    resumed.load_state_dict(saved)
    for i in range(11, 20):
        resumed, logs_again = solver.step(again, resumed, Batches(kit.batch(2 * i), [kit.batch(2 * i + 1)]))
    for a, b in zip((*again.theta, *again.omega), (*problem.theta, *problem.omega), strict=True):
        assert torch.equal(a, b)
    assert resumed.history == state.history
    assert logs_again == logs


def test_schedulers_of_both_levels_see_the_steps(kit: Any, kind: Any) -> None:
    problem, solver = kit.Chain(), kind()
    optimizers = kit.sgd(problem)
    schedulers = [optim.lr_scheduler.StepLR(optimizer, 1, 0.5) for optimizer in optimizers]
    solver.step(problem, solver.init(problem, optimizers), kit.feed("one", 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scheduler in schedulers:
            scheduler.step()  # warns where no step was seen
    assert [o.param_groups[0]["lr"] / o.param_groups[0]["initial_lr"] for o in optimizers] == [0.5, 0.5]


@pytest.mark.parametrize("kind", [Cg, partial(Neumann, rate=0.05), F2sa, Ibgl, Alternating])
def test_methods_without_a_graph_take_any_lower_optimizer(kit: Any, kind: Any) -> None:
    problem, solver = kit.Chain(), kind()
    before = [w.detach().clone() for w in problem.omega]
    state = solver.init(problem, [kit.sgd(problem)[0], optim.RMSprop(problem.omega, lr=0.01, momentum=0.5)])
    solver.step(problem, state, kit.feed("fresh", 2))
    assert all(not torch.equal(w, old) for w, old in zip(problem.omega, before, strict=True))
