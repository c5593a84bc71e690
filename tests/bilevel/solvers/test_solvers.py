"""Whole outer steps of the solvers, against plain implementations that keep theta in the graph."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor, optim

from restore_hub.bilevel.solvers import Alternating, Ibgl, Joint, Lwcl, State, Tbgl
from restore_hub.contracts import Batches
from restore_hub.errors import BilevelError, OptionError
from restore_hub.options import check_options, options_of

RATE = 0.07
TWO_LEVELS = [Alternating, Tbgl, Ibgl, Lwcl]


class Chain:
    """hidden = tanh(z W + b) above; a head on hidden * late below, where `late` is an upper variable too."""

    theta_names, omega_names = ("W", "b", "late"), ("V", "d")

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(0)
        shapes = ((3, 4), (4,), (4,)), ((4, 2), (2,))
        self.theta, self.omega = (
            tuple(torch.randn(s, generator=g, dtype=torch.float64).requires_grad_() for s in level) for level in shapes
        )
        self.graphs: list[bool] = []
        self.backwards = 0
        self.energies = 0

    def couple(self, batch: Any) -> tuple[Tensor, ...]:
        hidden = torch.tanh(batch[0] @ self.theta[0] + self.theta[1])
        self.graphs.append(hidden.requires_grad)
        if hidden.requires_grad:
            hidden.register_hook(lambda _: setattr(self, "backwards", self.backwards + 1))
        return hidden, self.theta[2]

    def upper(self, x: Any, omega: Any, batch: Any) -> Tensor:
        self.energies += 1
        fit = torch.nn.functional.softplus((x[0] * x[1]) @ omega[0] + omega[1]) - batch[1]
        return fit.square().mean() + 0.1 * x[0].square().sum()

    def lower(self, x: Any, omega: Any, batch: Any) -> Tensor:
        self.energies += 1
        fit = torch.sigmoid((x[0] * x[1]) @ omega[0] + omega[1]) - 0.3 * batch[1]
        return fit.square().sum() + 0.05 * sum(w.square().sum() for w in omega)


def batch(seed: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(100 + seed)
    return torch.randn(5, 3, generator=g, dtype=torch.float64), torch.rand(5, 2, generator=g, dtype=torch.float64)


def feed(case: str, steps: int) -> Batches:
    """`shared`: one batch at both levels; `one`: one lower batch for all steps; `fresh`: one for each."""
    if case == "shared":
        same = batch(0)
        return Batches(same, [same], steps)
    lower = [batch(1 + i) for i in range(1 if case == "one" else steps)]
    return Batches(batch(0), lower, steps)


def sgd(problem: Any, upper: float = 0.3) -> list[optim.Optimizer]:
    return [optim.SGD(problem.theta, lr=upper), optim.SGD(problem.omega, lr=RATE)]


def run(solver: Any, problem: Any, batches: Batches) -> tuple[State, dict[str, Tensor]]:
    state, logs = solver.step(problem, solver.init(problem, sgd(problem)), batches)
    assert all(value.ndim == 0 and not value.requires_grad for value in logs.values())
    return state, logs


def grads(value: Tensor, variables: Any) -> list[Tensor]:
    found = torch.autograd.grad(value, variables, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(v) if g is None else g for g, v in zip(found, variables, strict=True)]


def dot(a: Any, b: Any) -> Tensor:
    return sum((p * q).sum() for p, q in zip(a, b, strict=True))


def plain(kind: type, problem: Chain, batches: Batches) -> list[Tensor]:
    """The hypergradient with theta in every graph: no coupling, no detaching, lower steps by hand."""

    def f_lower(omega: Any, data: Any) -> Tensor:
        return problem.lower(problem.couple(data), omega, data)

    omega = [w.detach().clone().requires_grad_() for w in problem.omega]
    last = batches.lower[-1]
    for i in range(batches.steps):
        before = omega
        g = grads(f_lower(omega, batches.lower[i] if len(batches.lower) > 1 else last), omega)
        omega = [(w - RATE * h).detach().requires_grad_() for w, h in zip(omega, g, strict=True)]
    f_upper = problem.upper(problem.couple(batches.upper), omega, batches.upper)
    direct, v = grads(f_upper, problem.theta), grads(f_upper, omega)
    if kind is Alternating:
        return direct
    if kind is Tbgl:
        eps = 0.01 / (RATE * dot(v, v).sqrt())
        ends = []
        for sign in (1, -1):
            point = [(w + sign * eps * RATE * h).detach() for w, h in zip(before, v, strict=True)]
            ends.append(grads(f_lower(point, last), problem.theta))
        return [d - (p - m) / (2 * eps) for d, p, m in zip(direct, *ends, strict=True)]
    lower = f_lower(omega, last)
    g_l, t = grads(lower, omega), grads(lower, problem.theta)
    return [d - dot(g_l, v) / dot(g_l, g_l) * h for d, h in zip(direct, t, strict=True)]


@pytest.mark.parametrize("case", ["shared", "one", "fresh"])
@pytest.mark.parametrize("kind", TWO_LEVELS)
def test_fast_path_equals_the_plain_implementation(kind: Any, case: str) -> None:
    batches = feed(case, 1 if kind is Tbgl else 3)
    expected = plain(kind, Chain(), batches)
    problem = Chain()
    start = [t.detach().clone() for t in problem.theta]
    run(kind(), problem, batches)
    for t, old, g in zip(problem.theta, start, expected, strict=True):
        scale = g.abs().max().item()
        torch.testing.assert_close(t.grad, g, rtol=1e-12, atol=1e-12 * scale)
        torch.testing.assert_close(t.detach(), old - 0.3 * t.grad, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("kind", TWO_LEVELS)
def test_upper_block_runs_once_each_way_for_each_distinct_batch(kind: Any) -> None:
    k = 1 if kind is Tbgl else 4
    responds = kind.responds
    for case, graphs in (
        ("shared", [True]),
        ("one", [responds, True]),
        ("fresh", [False] * (k - 1) + [responds, True]),
    ):
        problem = Chain()
        run(kind(), problem, feed(case, k))
        assert problem.graphs == graphs
        assert problem.backwards == (1 if case == "shared" else sum(graphs))


@pytest.mark.parametrize("kind", TWO_LEVELS)
def test_evaluations_counts_the_energy_gradients(kind: Any) -> None:
    problem, k = Chain(), 1 if kind is Tbgl else 4
    run(kind(), problem, feed("one", k))
    assert problem.energies == kind().evaluations(k)


@pytest.mark.parametrize("kind", TWO_LEVELS)
def test_lower_updates_are_in_place_and_of_their_optimizer(kind: Any) -> None:
    problem, reference = Chain(), Chain()
    places = [w.data_ptr() for w in problem.omega]
    batches = feed("one", 1)
    run(kind(), problem, batches)
    x = tuple(t.detach() for t in reference.couple(batches.lower[0]))
    for w, old, g in zip(
        problem.omega,
        reference.omega,
        grads(reference.lower(x, reference.omega, batches.lower[0]), reference.omega),
        strict=True,
    ):
        torch.testing.assert_close(w, old - RATE * g, rtol=1e-14, atol=1e-15)
    assert [w.data_ptr() for w in problem.omega] == places


def test_tbgl_is_the_derivative_through_its_lower_step() -> None:
    """Finite differences of theta -> F_upper(theta, omega - eta g_l(theta, omega)), with no autograd in theta."""
    problem, batches = Chain(), feed("one", 1)
    data = batches.lower[0]

    def value() -> float:
        with torch.no_grad():
            x = problem.couple(data)
        omega = [w.detach().requires_grad_() for w in problem.omega]
        stepped = [w - RATE * g for w, g in zip(omega, grads(problem.lower(x, omega, data), omega), strict=True)]
        with torch.no_grad():
            return problem.upper(problem.couple(batches.upper), stepped, batches.upper).item()

    expected, h = [], 1e-5
    for t in problem.theta:
        for entry in t.detach().view(-1).unbind():
            entry += h
            high = value()
            entry -= 2 * h
            expected.append((high - value()) / (2 * h))
            entry += h
    run(Tbgl(), problem, batches)
    found = torch.cat([t.grad.flatten() for t in problem.theta])
    exact = torch.tensor(expected, dtype=torch.float64)
    assert (found - exact).norm() / exact.norm() < 2e-5
    direct = torch.cat([g.flatten() for g in plain(Alternating, Chain(), batches)])
    assert (direct - exact).norm() / exact.norm() > 5e-3  # the response matters here


def test_alternating_allows_an_upper_energy_without_omega_and_the_others_refuse_it() -> None:
    for kind in TWO_LEVELS:
        problem = Chain()
        problem.upper = lambda x, _omega, _batch: (x[0] * x[1]).square().sum()
        if kind is Alternating:
            run(kind(), problem, feed("one", 1))
            assert problem.theta[0].grad.abs().max() > 0
        else:
            with pytest.raises(BilevelError, match="F_upper depends on no tensor of omega"):
                run(kind(), problem, feed("one", 1))


def test_logs_hold_the_ratio_the_norms_and_the_cosine() -> None:
    problem, batches = Chain(), feed("one", 2)
    _, logs = run(Ibgl(), problem, batches)
    reference = Chain()
    for w, stepped in zip(reference.omega, problem.omega, strict=True):
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
    assert {name: logs[name].item() for name in expected} == pytest.approx(expected, rel=1e-12)
    assert logs.keys() - expected.keys() == {"loss/lower"}


def test_cap_cuts_an_outlier_and_says_so() -> None:
    problem, solver = Chain(), Ibgl(cap=2.0)
    state = solver.init(problem, sgd(problem, upper=1e-3))
    norms = []
    for i in range(12):
        state, logs = solver.step(problem, state, feed("one", 1))
        norms.append(logs["response_norm"].item())
        assert logs["capped"].item() == 0, i
    original = problem.upper
    problem.upper = lambda x, omega, data: 500 * original(x, omega, data)
    bound = 2 * state.history.nanmedian().item()
    state, logs = solver.step(problem, state, feed("one", 1))
    assert logs["capped"].item() == 1
    assert logs["response_norm"].item() == pytest.approx(bound)
    assert state.history[-1].item() > 100 * bound
    free = Ibgl(cap=None)
    state.history = torch.full_like(state.history, 1e-9)
    _, logs = free.step(problem, state, feed("one", 1))
    assert logs["capped"].item() == 0
    assert logs["response_norm"].item() > 10 * bound


def test_zero_sum_pair_on_one_batch_is_explained_and_leaves_theta() -> None:
    problem = Chain()
    problem.upper = lambda x, omega, data: -problem.lower(x, omega, data)
    before = [t.detach().clone() for t in problem.theta]
    with pytest.raises(BilevelError, match=r"-1 times F_lower .*zero-sum"):
        run(Lwcl(), problem, feed("shared", 1))
    torch.testing.assert_close([t.detach() for t in problem.theta], before, rtol=0, atol=0)
    run(Lwcl(), problem, feed("one", 1))  # on separate batches there is something to learn
    assert problem.theta[0].grad.abs().max() > 1e-6


@pytest.mark.parametrize("kind", TWO_LEVELS)
@pytest.mark.parametrize("level", ["upper", "lower"])
def test_energy_that_is_not_finite_steps_nothing_further(kind: Any, level: str) -> None:
    problem = Chain()
    original = getattr(problem, level)
    setattr(problem, level, lambda *a: original(*a) * float("nan"))
    theta, omega = ([t.detach().clone() for t in group] for group in (problem.theta, problem.omega))
    with pytest.raises(BilevelError, match=f"the value of F_{level} is not finite"):
        run(kind(), problem, feed("one", 1))
    torch.testing.assert_close([t.detach() for t in problem.theta], theta, rtol=0, atol=0)
    if level == "lower":
        torch.testing.assert_close([t.detach() for t in problem.omega], omega, rtol=0, atol=0)


@pytest.mark.parametrize("kind", TWO_LEVELS)
def test_saved_state_continues_bit_for_bit(kind: Any) -> None:
    def adam(problem: Chain, rate: float) -> list[optim.Optimizer]:
        return [optim.Adam(problem.theta, lr=rate), optim.Adam(problem.omega, lr=0.01, betas=(0.8, 0.95))]

    solver, problem = kind(), Chain()
    state = solver.init(problem, adam(problem, 0.02))
    for i in range(20):
        if i == 11:
            buffer = io.BytesIO()
            torch.save((state.state_dict(), problem.theta, problem.omega), buffer)
        state, logs = solver.step(problem, state, Batches(batch(2 * i), [batch(2 * i + 1)]))
    buffer.seek(0)
    saved, theta, omega = torch.load(buffer, weights_only=False)
    again = Chain()
    for live, kept in zip((*again.theta, *again.omega), (*theta, *omega), strict=True):
        live.data.copy_(kept.detach())
    resumed = solver.init(again, adam(again, 0.5))
    resumed.load_state_dict(saved)
    for i in range(11, 20):
        resumed, logs_again = solver.step(again, resumed, Batches(batch(2 * i), [batch(2 * i + 1)]))
    for a, b in zip((*again.theta, *again.omega), (*problem.theta, *problem.omega), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(resumed.history.nan_to_num(-1), state.history.nan_to_num(-1))
    assert logs_again == logs


class Single:
    names = ("scale", "shift")

    def __init__(self) -> None:
        self.variables = (torch.tensor([0.4, -0.2]).requires_grad_(), torch.tensor(0.1).requires_grad_())

    def energy(self, data: Tensor) -> Tensor:
        return (data * self.variables[0] + self.variables[1]).exp().mean()


def test_joint_is_a_plain_autograd_step_on_all_variables() -> None:
    data = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    ours, theirs = Single(), Single()
    optimizer = optim.Adam(theirs.variables, lr=0.05)
    state = Joint().init(ours, [optim.Adam(ours.variables, lr=0.05)])
    for _ in range(5):
        optimizer.zero_grad()
        value = theirs.energy(data)
        value.backward()
        optimizer.step()
        state, logs = Joint().step(ours, state, Batches(None, [data]))
        assert logs["loss"].item() == value.item()
    assert all(torch.equal(a, b) for a, b in zip(ours.variables, theirs.variables, strict=True))
    assert Joint().evaluations(1) == 1


def test_joint_inside_one_autocast_region_sees_its_own_steps() -> None:
    """Autocast caches cast weights; without clearing them the second step would see the first step's weights."""
    problem, losses = Single(), []
    problem.variables = (torch.ones(4, 4, requires_grad=True),)
    problem.names = ("w",)
    problem.energy = lambda data: (data @ problem.variables[0]).float().square().mean()
    state = Joint().init(problem, [optim.SGD(problem.variables, lr=0.05)])
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(3):
            state, logs = Joint().step(problem, state, Batches(None, [torch.ones(2, 4)]))
            losses.append(logs["loss"].item())
    assert losses[2] < losses[1] < losses[0]


def test_joint_names_what_is_missing_or_not_finite() -> None:
    problem = Single()
    state = Joint().init(problem, [optim.SGD(problem.variables, lr=0.1)])
    with pytest.raises(BilevelError, match="one level"):
        Joint().step(problem, state, Batches(1, [1]))
    problem.energy = lambda _: torch.ones((), requires_grad=True) * 2
    with pytest.raises(BilevelError, match="F depends on no tensor of the variables"):
        Joint().step(problem, state, Batches(None, [None]))
    problem.energy = lambda _: (problem.variables[1] - 0.1).sqrt() + problem.variables[0].sum()
    with pytest.raises(BilevelError, match="the gradient of F by shift is not finite"):
        Joint().step(problem, state, Batches(None, [None]))
    assert problem.variables[0].tolist() == pytest.approx([0.4, -0.2])


def test_tbgl_takes_one_lower_step_and_an_optimizer_that_it_knows() -> None:
    problem = Chain()
    with pytest.raises(BilevelError, match="exactly one lower step, got 2"):
        run(Tbgl(), problem, feed("one", 2))
    with pytest.raises(BilevelError, match=r"momentum=0\.9"):
        Tbgl().init(problem, [sgd(problem)[0], optim.SGD(problem.omega, lr=0.1, momentum=0.9)])


def test_optimizers_must_hold_their_levels_variables() -> None:
    problem = Chain()
    with pytest.raises(BilevelError, match="takes 2 optimizers"):
        Ibgl().init(problem, sgd(problem)[:1])
    with pytest.raises(BilevelError, match="optimizer 0 does not hold exactly the variables"):
        Ibgl().init(problem, sgd(problem)[::-1])
    with pytest.raises(BilevelError, match="optimizer 1 does not hold"):
        Ibgl().init(problem, [sgd(problem)[0], optim.SGD(problem.omega[:1], lr=0.1)])


def test_options_are_typed_and_checked() -> None:
    assert [options_of(kind) for kind in (Joint, Alternating)] == [[], []]
    for kind in (Ibgl, Lwcl):
        assert check_options("solver", kind, {"cap": 5}) == {"cap": 5.0}
        assert check_options("solver", kind, {"cap": None}) == {"cap": None}
        with pytest.raises(OptionError, match="cap"):
            kind(cap=1.0)
    with pytest.raises(OptionError, match="radius"):
        Tbgl(radius=0.0)
    assert [kind.levels for kind in (Joint, *TWO_LEVELS)] == [1, 2, 2, 2, 2]
    assert [kind.responds for kind in (Joint, *TWO_LEVELS)] == [False, False, True, True, True]
