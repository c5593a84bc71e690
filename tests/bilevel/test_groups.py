"""The grouped response against closed forms, and rows of groups against autograd, in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from restore_hub.bilevel import (
    Rows,
    Share,
    evaluate,
    grouped_product,
    lower_rows,
    outer_product,
    rows_by_parts,
    rows_by_vmap,
)
from support import refused
from support.level_pair import draw

SHAPES = ((4, 2), (3,))


def rows(m: int, seed: int = 0, scale: Tensor | float = 1.0) -> Rows:
    """Return m groups with 11 lower variables and a coupling tensor (6,), all groups reading all of it."""
    factors = torch.as_tensor(scale, dtype=torch.float64).expand(m)
    omega = tuple(torch.einsum("j,j...->j...", factors, g) for g in draw(seed, *((m, *s) for s in SHAPES)))
    (t,) = draw(seed + 50, (m, 6))
    return Rows(torch.tensor(1.0, dtype=torch.float64), omega, (Share(factors[:, None] * t),))


def flat(tensors: tuple[Tensor, ...], lead: int = 0) -> Tensor:
    return torch.cat([t.flatten(lead) for t in tensors], dim=-1)


def formula(found: Rows, g_u: tuple[Tensor, ...], damping: float) -> Tensor:
    """-T^T (K + lambda I)^-1 G g_u, written down in numbers of the issue's notation."""
    g, t, u = flat(found.omega, 1), found.x[0].value, flat(g_u)
    lengths = g.norm(dim=1, keepdim=True)
    G, T = g / lengths, t / lengths
    K = G @ G.T
    lam = damping * ((K * K).sum() / len(K) - 1)
    return -T.T @ torch.linalg.inv(K + lam * torch.eye(len(K), dtype=K.dtype)) @ G @ u


@pytest.mark.parametrize(
    ("m", "damping"), [(1, 0.0), (2, 0.0), (7, 0.0), *((m, d) for m in (1, 2, 7, 30) for d in (0.05, 0.7, 30.0))]
)
def test_response_is_the_damped_woodbury_form(m: int, damping: float) -> None:
    found, g_u = rows(m), draw(1, *SHAPES)
    response = grouped_product(found, g_u, damping)
    torch.testing.assert_close(response.x[0], formula(found, g_u, damping), rtol=1e-9, atol=1e-12)
    assert response.norm == response.raw_norm == pytest.approx(response.x[0].norm().item(), rel=1e-13)
    assert response.capped == 0


@pytest.mark.parametrize("damping", [0.0, 0.05, 10.0])
def test_one_group_is_the_plain_outer_product(damping: float) -> None:
    for seed in range(5):
        found, g_u = rows(1, seed), draw(seed + 9, *SHAPES)
        plain = outer_product(tuple(g[0] for g in found.omega), g_u, (found.x[0].value[0],))
        grouped = grouped_product(found, g_u, damping)
        torch.testing.assert_close(grouped.x, plain.x, rtol=1e-12, atol=0)
        for name in ("s", "g_lower", "cosine", "raw_norm", "norm"):
            assert getattr(grouped, name) == pytest.approx(getattr(plain, name), rel=1e-12), name


def test_woodbury_is_the_implicit_gradient_of_the_replaced_hessian() -> None:
    """-(sum_j G_j T_j^T)^T (sum_j G_j G_j^T + lambda I)^-1 g_u, solved in the space of omega."""
    for m in (3, 40):
        found, g_u, damping = rows(m), draw(1, *SHAPES), 0.3
        g, t = flat(found.omega, 1), found.x[0].value
        lengths = g.norm(dim=1, keepdim=True)
        H, B = (g / lengths).T @ (g / lengths), (g / lengths).T @ (t / lengths)
        lam = damping * ((g / lengths @ (g / lengths).T).square().sum() / m - 1)
        exact = -B.T @ torch.linalg.solve(H + lam * torch.eye(len(H), dtype=H.dtype), flat(g_u))
        torch.testing.assert_close(grouped_product(found, g_u, damping).x[0], exact, rtol=1e-9, atol=1e-12)


def test_without_damping_it_is_the_least_norm_solution() -> None:
    found, g_u = rows(30), draw(1, *SHAPES)
    g, t = flat(found.omega, 1), found.x[0].value
    lengths = g.norm(dim=1, keepdim=True)
    a = torch.linalg.lstsq((g / lengths).T, flat(g_u)[:, None], driver="gelsd").solution  # min |a|: G^T a = g_u
    torch.testing.assert_close(grouped_product(found, g_u, 0.0).x[0], -(t / lengths).T @ a[:, 0], rtol=1e-8, atol=1e-11)


def test_it_is_exact_for_orthogonal_residuals_at_the_default_damping() -> None:
    """F_j = (b_j'x + c_j'w - e_j)^2 / 2 with orthogonal c_j: R = -sum_j b_j <c_j, g_u> / |c_j|^2, wherever w is."""
    c = torch.linalg.qr(draw(3, (11, 5))[0]).Q.T * torch.tensor([1.0, 3, 0.2, 5, 1e-6], dtype=torch.float64)[:, None]
    b, g_u, residual = *draw(4, (5, 6), (11,)), draw(5, (5,))[0]
    found = Rows(torch.zeros(()), (residual[:, None] * c,), (Share(residual[:, None] * b),))
    exact = -(b * ((c @ g_u) / c.square().sum(1))[:, None]).sum(0)
    torch.testing.assert_close(grouped_product(found, (g_u,)).x[0], exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("factor", [-1.0, 1e-3, 1e5, 1e-150, 1e150])
def test_a_factor_on_a_group_changes_nothing(factor: float) -> None:
    g_u = draw(1, *SHAPES)
    factors = torch.tensor([1.0, factor, 2.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(
        grouped_product(rows(4, scale=factors), g_u).x, grouped_product(rows(4), g_u).x, rtol=1e-11, atol=1e-14
    )


def test_parallel_groups_answer_like_one() -> None:
    one, g_u = rows(1), draw(1, *SHAPES)
    many = Rows(one.value, tuple(g.expand(6, *g.shape[1:]) for g in one.omega), (Share(one.x[0].value.expand(6, 6)),))
    plain = grouped_product(one, g_u).x[0]
    # K = 11^T has the eigenvalue m, the excess is m - 1: sum over m of t / (m + damping (m - 1))
    for damping in (0.0, 0.3):
        expected = 6 * plain / (6 + damping * 5)
        torch.testing.assert_close(grouped_product(many, g_u, damping).x[0], expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("damping", [0.0, 0.05])
def test_a_group_without_gradient_has_no_say(damping: float) -> None:
    full, g_u = rows(4), draw(1, *SHAPES)
    keep = torch.tensor([0, 1, 3])
    zeroed = Rows(full.value, tuple(g.index_fill(0, torch.tensor(2), 0) for g in full.omega), full.x)
    rest = Rows(full.value, tuple(g[keep] for g in full.omega), (Share(full.x[0].value[keep]),))
    torch.testing.assert_close(
        grouped_product(zeroed, g_u, damping).x, grouped_product(rest, g_u, damping).x, rtol=1e-9, atol=1e-12
    )
    none = Rows(full.value, tuple(torch.zeros_like(g) for g in full.omega), full.x)
    found = grouped_product(none, g_u, damping)
    assert found.x[0].tolist() == [0] * 6
    assert (found.norm, found.raw_norm, found.s, found.g_lower) == (0, 0, 0, 0)


def test_limit_cuts_the_norm_and_keeps_the_direction() -> None:
    found, g_u = rows(5), draw(1, *SHAPES)
    free = grouped_product(found, g_u)
    cut = grouped_product(found, g_u, limit=free.norm / 4)
    assert (cut.capped, cut.raw_norm) == (1, free.norm)
    assert cut.norm == pytest.approx(free.norm / 4)
    torch.testing.assert_close(4 * cut.x[0], free.x[0])
    torch.testing.assert_close(grouped_product(found, g_u, limit=math.inf).x, free.x, rtol=0, atol=0)


def test_a_group_that_owns_entries_of_x_scales_these_alone() -> None:
    """A coupling tensor cut along its first axis, held once: the same as m rows that are zero elsewhere."""
    found, g_u = rows(3), draw(1, *SHAPES)
    (t,) = draw(8, (5, 2))
    owner = torch.tensor([0, 0, 1, 2, 2])
    dense = torch.stack([t * (owner == j)[:, None] for j in range(3)])
    cut, whole = Rows(found.value, found.omega, (Share(t, owner),)), Rows(found.value, found.omega, (Share(dense),))
    torch.testing.assert_close(grouped_product(cut, g_u).x, grouped_product(whole, g_u).x, rtol=1e-13, atol=0)
    torch.testing.assert_close(cut.total().x, (t,), rtol=0, atol=0)
    torch.testing.assert_close(whole.total().x, (t,), rtol=0, atol=0)


def test_totals_are_the_sums_over_groups() -> None:
    found = rows(4)
    total = found.total()
    torch.testing.assert_close(flat(total.omega), flat(found.omega, 1).sum(0), rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(total.x[0], found.x[0].value.sum(0), rtol=1e-14, atol=1e-14)


def _energy(x: Any, omega: Any, group: Any) -> tuple[Tensor, int]:
    """A small network on samples (n, 3) with targets (n, 2); x scales its hidden layer."""
    hidden = torch.tanh(group["z"] @ omega[0] * x[0])
    return (hidden - group["y"]).square().sum(), group["y"].numel()


def _network() -> tuple[Any, Any, dict[str, Tensor]]:
    w, x, z, y = draw(2, (3, 2), (2,), (6, 3), (6, 2))
    return (x.requires_grad_(),), (w.requires_grad_(),), {"z": z, "y": y}


@pytest.mark.parametrize("m", [1, 2, 3, 6])
def test_rows_are_the_gradients_of_each_group(m: int) -> None:
    x, omega, batch = _network()
    stacked = {name: tensor.reshape(m, 6 // m, -1) for name, tensor in batch.items()}
    by_vmap = rows_by_vmap(_energy, x, omega, stacked)
    energies = [_energy(x, omega, {name: t[j] for name, t in stacked.items()})[0] / 12 for j in range(m)]
    expected = [torch.autograd.grad(energy, (omega[0], x[0]), retain_graph=True) for energy in energies]
    by_parts = rows_by_parts(energies, omega, [()] * m, x)
    for j, (dw, dx) in enumerate(expected):
        for row in (Rows(by_vmap.value, (by_vmap.omega[0][j],), (Share(by_vmap.x[0].value[j]),)), by_parts[j]):
            torch.testing.assert_close(row.omega[0].reshape(3, 2), dw, rtol=1e-12, atol=1e-15)
            torch.testing.assert_close(row.x[0].value.reshape(2), dx, rtol=1e-12, atol=1e-15)
    assert by_vmap.value.item() == pytest.approx(_energy(x, omega, batch)[0].item() / 12, rel=1e-13)


class Separable:
    """A problem of groups: mean of squared residuals of the small network, and its sum over groups."""

    theta_names, omega_names = ("scale",), ("w",)

    def __init__(self) -> None:
        self.theta, self.omega, self.batch = _network()

    def couple(self, _: Any) -> tuple[Tensor, ...]:
        return self.theta

    def upper(self, x: Any, omega: Any, _: Any) -> Tensor:
        return (omega[0] - 0.3).square().sum() + x[0].square().sum()

    def lower(self, x: Any, omega: Any, batch: Any) -> Tensor:
        total, count = _energy(x, omega, batch)
        return total / count

    def lower_groups(self, x: Any, omega: Any, batch: Any, groups: Any) -> Rows:
        m = 6 if groups == "sample" else groups
        return rows_by_vmap(_energy, x, omega, {name: t.reshape(m, 6 // m, -1) for name, t in batch.items()})


def test_rows_of_a_pair_add_up_to_its_gradients() -> None:
    pair = Separable()
    whole = evaluate(pair, "lower", pair.theta, pair.omega, pair.batch)
    for groups in ("sample", 2):
        total = lower_rows(pair, pair.theta, pair.omega, pair.batch, groups).total()
        torch.testing.assert_close(total, whole, rtol=1e-12, atol=1e-15)


def test_a_pair_without_groups_and_gradients_that_are_not_finite_are_named(quadratic: Any) -> None:
    with refused("bilevel.no-groups", "Quadratic"):
        lower_rows(quadratic, quadratic.theta, quadratic.omega, None, "sample")
    pair = Separable()
    pair.batch["y"][3, 0] = torch.nan
    with refused("bilevel.not-finite", "F_lower"):
        lower_rows(pair, pair.theta, pair.omega, pair.batch, 3)


def test_a_missing_gradient_of_every_group_is_an_error() -> None:
    x, omega, batch = _network()
    free = [(omega[0] * j).square().sum() for j in range(1, 3)]
    with refused("bilevel.no-gradient", "F_lower", group="x"):
        rows_by_parts(free, omega, [(), ()], x)
    with refused("bilevel.no-gradient", "F_lower", group="omega"):
        rows_by_parts([x[0].sum(), batch["y"].sum()], omega, [(), ()], x)
    assert len(rows_by_parts([x[0].sum() * omega[0].sum(), omega[0].sum()], omega, [(), ()], x)) == 2


def test_float32_rows_give_what_float64_rows_give() -> None:
    """Wide rows, in several chunks of columns, of lengths from 1e-25 to 1e15."""
    g, t, u = draw(3, (20, 10_000), (20, 6), (10_000,))
    scale = torch.logspace(-25, 15, 20, dtype=torch.float64)[:, None]
    exact = grouped_product(Rows(torch.zeros(()), (g * scale,), (Share(t * scale),)), (u,)).x[0]
    single = Rows(torch.zeros(()), ((g * scale).float(),), (Share((t * scale).float()),))
    torch.testing.assert_close(grouped_product(single, (u.float(),)).x[0].double(), exact, rtol=1e-4, atol=1e-6)
    twice = Rows(torch.zeros(()), (single.omega[0].repeat(2, 1),), (Share(single.x[0].value.repeat(2, 1)),))
    for damping in (0.0, 1e-9):  # two of each group: K is singular
        found = grouped_product(twice, (u.float(),), damping).x[0]
        torch.testing.assert_close(found, grouped_product(single, (u.float(),), 0.0).x[0], rtol=1e-2, atol=1e-3)
