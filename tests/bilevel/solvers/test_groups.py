"""Whole outer steps of ibgl and lwcl with groups: the toy of Eq. 9 from wide starts, quadratics, options, the cap."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, optim

from restore_hub.bilevel import Rows, grouped_product, rows_by_vmap
from restore_hub.bilevel.solvers import Ibgl, Lwcl
from restore_hub.contracts import Batches, GroupedPair
from support import refused
from support.level_pair import step


class Residuals:
    """F_lower = sum_j (b_j'theta + c_j'omega - e_j)^2 / 2 over m samples, plus decay |omega|^2 / 2 shared evenly.

    F_upper = |omega - target|^2 / 2. omega(theta) and so the hypergradient are known in closed form.
    """

    theta_names, omega_names = ("theta",), ("omega",)

    def __init__(self, m: int = 12, n: int = 5, decay: float = 0.0, seed: int = 0) -> None:
        g = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g, dtype=torch.float64)

        self.b, self.c, self.e, self.target, self.m, self.decay = draw(m, 3), draw(m, n), draw(m), draw(n), m, decay
        self.theta, self.omega = (draw(3).requires_grad_(),), (draw(n).requires_grad_(),)

    def couple(self, _: Any) -> tuple[Tensor, ...]:
        return self.theta

    def upper(self, x: Any, omega: Any, _: Any) -> Tensor:
        return 0.5 * (omega[0] - self.target).square().sum() + 0 * x[0].sum()

    def _each(self, x: Any, omega: Any, index: Tensor) -> tuple[Tensor, int]:
        residual = self.b[index] @ x[0] + self.c[index] @ omega[0] - self.e[index]
        decay = 0.5 * self.decay * len(index) / self.m * omega[0].square().sum()
        return 0.5 * residual.square().sum() + decay, 1

    def lower(self, x: Any, omega: Any, _: Any) -> Tensor:
        return self._each(x, omega, torch.arange(self.m))[0]

    def lower_groups(self, x: Any, omega: Any, _: Any, groups: Any) -> Rows:
        count = self.m if groups == "sample" else groups
        rows = rows_by_vmap(self._each, x, omega, torch.arange(self.m).reshape(count, -1))
        # The count is of the whole: rows_by_vmap divides by the sum of the groups' counts.
        return Rows(
            rows.value * count,
            tuple(g * count for g in rows.omega),
            tuple(s._replace(value=s.value * count) for s in rows.x),
        )

    def exact(self) -> Tensor:
        """Return -(d^2 F_lower/dtheta domega) H^-1 g_u at the present omega."""
        H = self.c.T @ self.c + self.decay * torch.eye(self.c.shape[1], dtype=torch.float64)
        return -self.b.T @ self.c @ torch.linalg.solve(H, self.omega[0].detach() - self.target)


@pytest.mark.parametrize("kind", [Ibgl, Lwcl])
def test_one_undamped_group_is_the_solver_without_groups(kind: type[Ibgl]) -> None:
    assert isinstance(Residuals(), GroupedPair)
    plain, grouped = Residuals(), Residuals()
    logs = step(kind(), plain, 0.01, 3)
    found = step(kind(groups=1, damping=0.0), grouped, 0.01, 3)
    torch.testing.assert_close(grouped.theta[0].grad, plain.theta[0].grad, rtol=1e-12, atol=0)
    assert found.keys() == logs.keys()
    for name, value in logs.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-12), name


def test_equal_residual_directions_make_groups_exact_for_a_quadratic() -> None:
    """Rows c_j of one length with C'C = H, each once: the grouped form has H itself, whatever the residuals are."""
    for steps in (1, 10, 100):
        pair = Residuals(m=5)
        pair.c = torch.linalg.qr(pair.c).Q * 1.7
        step(Ibgl(groups="sample", cap=None), pair, 0.01, steps)
        torch.testing.assert_close(pair.theta[0].grad, pair.exact(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 10, 100])
def test_groups_of_a_random_quadratic_point_where_the_exact_response_points(steps: int) -> None:
    cosines: dict[Any, list[float]] = {"sample": [], None: []}
    sizes: list[float] = []
    for seed in range(20):
        for groups in cosines:
            pair = Residuals(m=40, n=10, seed=seed)
            step(Ibgl(groups=groups, cap=None), pair, 0.01, steps)
            found, exact = pair.theta[0].grad, pair.exact()
            cosines[groups].append(torch.cosine_similarity(found, exact, dim=0).item())
            sizes += [(found.norm() / exact.norm()).item()] if groups else []
    middle = {groups: torch.tensor(values).median().item() for groups, values in cosines.items()}
    assert middle["sample"] > 0.9
    assert middle[None] < 0.6
    assert 0.3 < torch.tensor(sizes).median().item() < 1.5
    assert max(sizes) < 3


def test_the_response_is_the_slope_of_the_value_function() -> None:
    """Finite differences of theta -> F_upper(omega(theta)), with the lower level solved anew at each end."""
    pair = Residuals(m=5)
    pair.c = torch.linalg.qr(pair.c).Q * 1.7

    def value(theta: Tensor) -> float:
        omega = torch.linalg.solve(pair.c, pair.e - pair.b @ theta)
        return pair.upper((theta,), (omega,), None).item()

    step(Ibgl(groups="sample", cap=None), pair, 0.01, 500)
    theta, h = pair.theta[0].detach(), 1e-5
    slopes = [(value(theta + h * e) - value(theta - h * e)) / (2 * h) for e in torch.eye(3, dtype=torch.float64)]
    assert pair.theta[0].grad.tolist() == pytest.approx(slopes, rel=1e-5)


def test_a_zero_sum_pair_on_one_batch_is_explained() -> None:
    pair, same = Residuals(), object()
    pair.upper = lambda x, omega, batch: -pair.lower(x, omega, batch)  # type: ignore[method-assign]
    solver = Lwcl(groups="sample")
    state = solver.init(pair, [optim.SGD(pair.theta, lr=0.1), optim.SGD(pair.omega, lr=0.01)])
    with refused("bilevel.zero-sum"):
        solver.step(pair, state, Batches(same, [same]))


@pytest.mark.parametrize("damping", [0.0, 0.1, 5.0])
def test_the_option_damping_is_that_of_the_response(damping: float) -> None:
    pair = Residuals()
    step(Ibgl(groups="sample", damping=damping), pair, 0.01)
    rows = pair.lower_groups(pair.theta, pair.omega, None, "sample")
    expected = grouped_product(rows, (pair.omega[0].detach() - pair.target,), damping).x[0]
    torch.testing.assert_close(pair.theta[0].grad, expected, rtol=1e-10, atol=1e-14)


def test_the_cap_bounds_the_grouped_response() -> None:
    pair, solver = Residuals(), Ibgl(groups="sample", cap=2.0)
    state = solver.init(pair, [optim.SGD(pair.theta, lr=0.0), optim.SGD(pair.omega, lr=1e-6)])
    for _ in range(8):
        state, logs = solver.step(pair, state, Batches(None, [None]))
    bound = 2 * logs["response_norm"]
    pair.target = pair.target * 100
    state, logs = solver.step(pair, state, Batches(None, [None]))
    assert logs["capped"] == 1
    assert logs["response_norm"] == pytest.approx(bound, rel=1e-3)
    assert pair.theta[0].grad.norm().item() == pytest.approx(bound, rel=1e-3)


def test_a_pair_without_groups_is_refused() -> None:
    pair = Residuals()
    pair.lower_groups = None  # type: ignore[method-assign, assignment]
    with refused("bilevel.no-groups"):
        step(Ibgl(groups=3), pair, 0.01)
