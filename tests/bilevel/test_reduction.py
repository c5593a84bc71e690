"""Sums over processes, here two threads: values, gradients, second derivatives and norms of the whole batch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from restore_hub.bilevel import ALONE, Pull, Reduction, evaluate, hypergradient, norm, reduction_of, spread, summed
from support import refused


@pytest.fixture
def together() -> Callable[..., list[Any]]:
    """Return a function that calls another one with the reduction of each of two processes; it returns both results."""

    def both(call: Callable[[Reduction], Any], shared: int = 0) -> list[Any]:
        slots: list[Tensor] = [torch.empty(0)] * 2
        meet = threading.Barrier(2, timeout=20)

        def adding(rank: int) -> Callable[[Tensor], Tensor]:
            def add(flat: Tensor) -> Tensor:
                assert flat.ndim == 1
                slots[rank] = flat
                meet.wait()
                total = slots[0] + slots[1]
                meet.wait()
                return flat.copy_(total)

            return add

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(call, [Reduction(rank, 2, adding(rank), shared) for rank in range(2)]))

    return both


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_one_process_sums_nothing() -> None:
    tensors = (draw(3), draw(2, 2, seed=1))
    assert all(a is b for a, b in zip(ALONE.total(tensors), tensors, strict=True))
    assert all(a is b for a, b in zip(spread(ALONE, tensors), tensors, strict=True))
    assert all(a is b for a, b in zip(summed(ALONE, tensors), tensors, strict=True))
    assert ALONE.once(tensors) is tensors
    assert ALONE.norm(tensors, tensors) == norm([*tensors, *tensors])
    assert reduction_of(object()) is ALONE


def test_totals_keep_types_shapes_and_the_order_in_memory(together: Callable[..., list[Any]]) -> None:
    def call(reduction: Reduction) -> Any:
        picture = torch.full((1, 2, 3, 3), 1.0 + reduction.rank).to(memory_format=torch.channels_last)
        return reduction.total([picture, torch.tensor(3, dtype=torch.int64), torch.tensor([0.5], dtype=torch.float64)])

    for picture, count, wide in together(call):
        assert torch.equal(picture, torch.full((1, 2, 3, 3), 3.0))
        assert picture.is_contiguous(memory_format=torch.channels_last)
        assert (count.dtype, int(count)) == (torch.int64, 6)
        assert (wide.dtype, wide.tolist()) == (torch.float64, [1.0])


def test_energies_and_two_derivatives_are_those_of_the_whole_batch(together: Callable[..., list[Any]]) -> None:
    """E = sum / count with counts that differ: the value, both gradients, H p and the mixed derivative."""
    z, omega, p = draw(6, 3), draw(3, seed=1), draw(3, seed=2)

    def derivatives(x: Tensor, reduction: Reduction) -> tuple[Tensor, ...]:
        w, x = omega.clone().requires_grad_(), x.clone().requires_grad_()
        (through,) = spread(reduction, [w])
        there = (x[:, 0] > -0.5).double()
        value, count = summed(reduction, [(torch.tanh(x @ through) ** 3 * there).sum(), there.sum()])
        energy = value / count
        gx, gw = torch.autograd.grad(energy, (x, w), create_graph=True)
        Hp, mixed = torch.autograd.grad(gw, (w, x), p)
        return energy.detach(), gx.detach(), gw.detach(), Hp, mixed

    whole = derivatives(z, ALONE)
    parts = together(lambda reduction: derivatives(z[:2] if reduction.rank == 0 else z[2:], reduction))
    for k, expected in enumerate(whole):
        own = torch.cat([part[k] for part in parts]) if len(expected.shape) == 2 else parts[0][k]
        torch.testing.assert_close(own, expected, rtol=1e-13, atol=1e-15)
        if len(expected.shape) < 2:
            assert torch.equal(parts[0][k], parts[1][k])


def test_variables_that_some_or_all_processes_do_not_use(together: Callable[..., list[Any]]) -> None:
    def call(reduction: Reduction) -> Any:
        a, b, c = (draw(2, seed=seed).requires_grad_() for seed in range(3))
        u, v, _ = spread(reduction, [a, b, c])
        (value,) = summed(reduction, [u.sum() + (v.sum() if reduction.rank == 0 else 0.0)])
        return torch.autograd.grad(value, (a, b, c), allow_unused=True)

    for of_a, of_b, of_c in together(call):
        assert of_a.tolist() == [2.0, 2.0]
        assert of_b.tolist() == [1.0, 1.0]
        assert of_c is None


def test_norms_count_what_is_shared_once(together: Callable[..., list[Any]]) -> None:
    own, shared = draw(2, 5) * 1e-180, draw(4, seed=1) * 1e-180  # whose squares vanish
    found = together(lambda reduction: reduction.norm((own[reduction.rank], shared)), shared=1)
    torch.testing.assert_close(found[0], norm([own, shared]), rtol=1e-14, atol=0)
    assert found[0] == found[1]
    zero = together(lambda reduction: reduction.norm((torch.zeros(2), torch.zeros(3))), shared=1)
    assert zero[0] == 0


def test_a_hypergradient_takes_shared_coupling_tensors_once(together: Callable[..., list[Any]]) -> None:
    z = draw(4, 3)

    class Half:
        theta_names, omega_names = ("W", "late"), ("omega",)

        def __init__(self, own: Tensor, reduction: Reduction) -> None:
            self.theta = (draw(3, 2, seed=1).requires_grad_(), draw(2, seed=2).requires_grad_())
            self.omega = (draw(2, seed=3).requires_grad_(),)
            self.own, self.reduction = own, reduction

        def couple(self, _: Any) -> tuple[Tensor, ...]:
            return torch.tanh(self.own @ self.theta[0]), self.theta[1]

        def upper(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], _: Any) -> Tensor:
            w, late = spread(self.reduction, (*omega, x[1]))
            (value,) = summed(self.reduction, [((x[0] * late) @ w).square().sum()])
            return value

        lower = upper

    def call(reduction: Reduction) -> Any:
        pair = Half(z[2 * reduction.rank : 2 * reduction.rank + 2] if reduction.size == 2 else z, reduction)
        x = pair.couple(None)
        found = evaluate(pair, "upper", x, pair.omega, None)
        return (*hypergradient(pair, Pull(x, found.x)), *found.omega, reduction.norm(found.x))

    whole = call(ALONE)
    first, second = together(call, shared=1)
    for ours, theirs, expected in zip(first, second, whole, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-13, atol=1e-15)
        assert torch.equal(torch.as_tensor(ours), torch.as_tensor(theirs))


def test_a_gradient_that_is_not_finite_on_one_process_is_an_error_on_all(together: Callable[..., list[Any]]) -> None:
    class LevelPair:
        theta_names, omega_names = ("t",), ("w",)
        theta = (torch.ones(1),)

        def __init__(self, reduction: Reduction) -> None:
            self.reduction = reduction

        def upper(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], _: Any) -> Tensor:
            (w,) = spread(self.reduction, omega)
            return summed(self.reduction, [(x[0] * w).sum() * (torch.inf if self.reduction.rank else 1.0)])[0]

    def call(reduction: Reduction) -> bool:
        with refused("bilevel.not-finite", "value of F_upper"):
            evaluate(LevelPair(reduction), "upper", (torch.ones(1),), (torch.ones(1),), None)  # type: ignore[arg-type]
        return True

    assert together(call) == [True, True]
