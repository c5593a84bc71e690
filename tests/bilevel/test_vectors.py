from __future__ import annotations

import doctest
import importlib

import pytest
import torch

from restore_hub.bilevel import cosine, inner, norm, scaled
from restore_hub.bilevel.vectors import CHUNK


def test_inner_and_norm_run_over_all_tensors_of_a_tuple() -> None:
    a = (torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor(-2.0))
    b = (torch.tensor([[0.5, -1.0], [2.0, 1.0]]), torch.tensor(3.0))
    assert inner(a, b) == 0.5 - 2 + 6 + 4 - 6
    assert norm(a) == pytest.approx(34**0.5, rel=1e-15)
    assert cosine(a, b) == pytest.approx(2.5 / (34 * 15.25) ** 0.5, rel=1e-7)


def test_sums_are_accumulated_in_float64() -> None:
    many = (torch.full((1000,), 0.1), torch.tensor([4096.0]))
    exact = sum(float(v) ** 2 for t in many for v in t)
    assert inner(many, many) == pytest.approx(exact, rel=1e-14)
    assert norm(many) == pytest.approx(exact**0.5, rel=1e-14)


@pytest.mark.parametrize(
    ("size", "dtype"),
    [
        (1e-320, torch.float64),
        (1e-200, torch.float64),
        (1e200, torch.float64),
        (1e-40, torch.float32),
        (1e38, torch.float32),
    ],
)
def test_norm_survives_squares_that_vanish_or_overflow(size: float, dtype: torch.dtype) -> None:
    values = torch.tensor([size, size, size, size], dtype=dtype)
    assert norm((values,)) == pytest.approx(2 * values[0].item(), rel=1e-3)


def test_tensors_of_very_different_size_share_a_norm_and_a_cosine() -> None:
    small, large, one = (torch.tensor(v, dtype=torch.float64) for v in ([3e-200, 4e-200], [4e200, 3e200], [4.0, 3.0]))
    for order in ((small, large), (large, small)):
        assert norm(order) == pytest.approx(5e200, rel=1e-15)
    near = one * 1e-130  # with that of `small`, a product that vanishes
    for a in (small, large, one, near):
        for b in (small, large, one, near):
            expected = 0.96 if (a is small) != (b is small) else 1.0
            assert cosine((a,), (b,)) == pytest.approx(expected, rel=1e-15)


def test_long_vectors_are_summed_to_their_last_element() -> None:
    count = 3 * CHUNK + 5
    a = torch.arange(count, dtype=torch.float32) % 97 - 48
    b = torch.arange(count, dtype=torch.float32) % 89 - 44
    assert inner((a, a), (b, b.double())) == 2 * torch.dot(a.double(), b.double()).item()
    a[-1], b[-1] = 2.0**20, 2.0**20
    assert inner((a,), (b,)) == torch.dot(a.double(), b.double()).item()


def test_norm_is_zero_only_for_exact_zeros_and_a_scaled_zero_stays_zero() -> None:
    zero = (torch.zeros(3), torch.zeros(()))
    assert norm(zero) == 0.0
    assert all(bool((t == 0).all()) for t in scaled(zero, 1.0, norm(zero)))
    tiny = (torch.tensor([0.0, 1e-45]),)
    assert norm(tiny) > 0
    assert scaled(tiny, 1.0, norm(tiny))[0].tolist() == [0.0, 1.0]


def test_bfloat16_is_not_rounded_on_the_way() -> None:
    values = torch.tensor([1.0078125, 3.015625, -2.984375], dtype=torch.bfloat16)
    assert norm((values,)) == pytest.approx(values.double().square().sum().sqrt().item(), rel=1e-14)


def test_the_example_of_the_package_runs() -> None:
    module = importlib.import_module("restore_hub.bilevel")
    result = doctest.testmod(module)
    assert result.attempted >= 8
    assert result.failed == 0
