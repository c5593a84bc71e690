"""A loss without terms: it adds nothing, and to the parts of a batch that have some, it changes nothing."""

from __future__ import annotations

import torch

from restore_hub.plan.objectives import combine, shares

WEIGHTS = {"one": 2.0, "boxes": 3.0}


def test_a_loss_without_terms_is_zero() -> None:
    for none in (0, torch.tensor(0), torch.tensor(0.0)):
        x = torch.tensor(1.0, requires_grad=True)
        parts = [{"one": (4 * x, 2), "boxes": (0 * x, none)}]
        for value in (combine(WEIGHTS, parts), *shares(WEIGHTS, parts)):
            assert value.item() == 4
            (grad,) = torch.autograd.grad(value, x, retain_graph=True)
            assert grad == 4


def test_a_part_without_terms_counts_nothing() -> None:
    x = torch.tensor(1.0, dtype=torch.float64)
    parts = [{"one": (4 * x, 2), "boxes": (0 * x, 0)}, {"one": (2 * x, 2), "boxes": (5 * x, 10)}]
    assert combine(WEIGHTS, parts) == 2 * 6 / 4 + 3 * 5 / 10
    assert [share.item() for share in shares(WEIGHTS, parts)] == [2 * 4 / 4, 2 * 2 / 4 + 3 * 5 / 10]


def test_counts_may_be_fractions() -> None:
    assert combine({"one": 1.0}, [{"one": (torch.tensor(1.0), torch.tensor(0.25))}]) == 4


def test_a_part_without_the_data_of_a_loss_leaves_it_to_the_others() -> None:
    x = torch.tensor(1.0, dtype=torch.float64)
    parts = [{"one": (4 * x, 2)}, {"one": (2 * x, 2), "boxes": (5 * x, 10)}]
    assert combine(WEIGHTS, parts) == 2 * 6 / 4 + 3 * 5 / 10
