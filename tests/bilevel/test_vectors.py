from __future__ import annotations

import doctest
import importlib

import pytest
import torch

from restore_hub.bilevel import cosine, inner, norm, scaled


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
