from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from restore_hub.bilevel import evaluate, evaluate_both, gradients
from support import refused


def leaf(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_both_groups_come_from_one_backward_pass(chain: Any, make_batch: Any) -> None:
    batch = make_batch(0)
    x = tuple(t.detach().requires_grad_() for t in chain.couple(batch))
    passes = []
    value = chain.upper(x, chain.omega, batch)
    value.register_hook(passes.append)
    found = gradients(value, x, chain.omega)
    assert len(passes) == 1
    expected = torch.autograd.grad(chain.upper(x, chain.omega, batch), (*x, *chain.omega))
    for ours, theirs in zip((*found.x, *found.omega), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert found.value.item() == value.item()
    assert not found.value.requires_grad


def test_evaluate_leaves_no_graph_on_the_variables(chain: Any, make_batch: Any) -> None:
    batch = make_batch(0)
    x = chain.couple(batch)
    found = evaluate(chain, "lower", x, chain.omega, batch, wrt=("omega",))
    assert found.x == ()
    assert chain.backwards == 0
    assert all(t.grad is None for t in (*chain.theta, *chain.omega))
    exact = torch.autograd.grad(chain.lower(x, chain.omega, batch), chain.omega)
    torch.testing.assert_close(found.omega, exact, rtol=0, atol=0)


def test_one_unused_tensor_has_gradient_zero_where_another_is_used() -> None:
    x, omega = (leaf(1.0, 2.0),), (leaf(3.0), leaf(4.0, 5.0))
    found = gradients(x[0].sum() * omega[0].sum(), x, omega)
    assert found.omega[0].tolist() == [3.0]
    assert found.omega[1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("group", "value"), [("omega", lambda x, _: x.sum()), ("x", lambda _, w: w.sum())])
def test_a_missing_group_is_an_error_unless_it_is_optional(group: str, value: Any) -> None:
    x, omega = leaf(1.0, 2.0), leaf(3.0)
    code = "bilevel.no-gradient" if group == "omega" else "bilevel.no-direct-gradient"
    with refused(code, "F_upper"):
        gradients(value(x, omega), (x,), (omega,), energy="F_upper")
    found = gradients(value(x, omega), (x,), (omega,), energy="F_upper", optional=(group,))
    missing = found.omega if group == "omega" else found.x
    assert not missing[0].any()


def test_an_energy_cut_from_everything_is_an_error(chain: Any, make_batch: Any) -> None:
    chain.lower = lambda x, omega, _: (x[0].detach() @ omega[0].detach()).sum()
    with refused("bilevel.no-gradient", "F_lower", group="x"):
        evaluate(chain, "lower", chain.couple(make_batch(0)), chain.omega, make_batch(0))


def test_an_energy_that_reads_the_live_variables_is_caught(chain: Any, make_batch: Any) -> None:
    """Energies must be pure in their arguments; one that reads `self.omega` would ignore a perturbed omega."""
    chain.lower = lambda x, _omega, _batch: (x[0] @ chain.omega[0]).sum()
    with refused("bilevel.no-gradient", group="omega"):
        evaluate(chain, "lower", chain.couple(make_batch(0)), chain.omega, make_batch(0), wrt=("omega",))


@pytest.mark.parametrize("value", [torch.ones(1), torch.ones(2, 2), 3.0])
def test_an_energy_must_be_a_scalar_tensor(value: Any) -> None:
    with refused("bilevel.not-a-scalar"):
        gradients(value, (leaf(1.0),), (leaf(1.0),))


def test_values_and_gradients_that_are_not_finite_are_named() -> None:
    x, omega = leaf(1.0), (leaf(1.0), leaf(0.0))
    with refused("bilevel.not-finite", "value of F_lower"):
        gradients(x.sum() * omega[0].sum() * float("nan"), (x,), omega, energy="F_lower")
    value = x.sum() * omega[0].sum() + omega[1].sqrt().sum()
    with refused("bilevel.not-finite", "gradient of F_lower by head.bias"):
        gradients(value, (x,), omega, energy="F_lower", omega_names=("head.weight", "head.bias"))
    with refused("bilevel.not-finite", "gradient of F_lower by x[0]"):
        gradients((x - 1.0).sqrt().sum() + omega[0].sum(), (x,), omega[:1], energy="F_lower")


def test_a_norm_that_overflows_is_no_error() -> None:
    x, omega = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    found = gradients((x * 1e30).sum() + omega.sum(), (x,), (omega,))
    assert found.x[0].tolist() == pytest.approx([1e30, 1e30], rel=1e-6)


def test_both_energies_at_once_are_each_by_itself(chain: Any, make_batch: Any) -> None:
    batch = make_batch(0)
    x = chain.couple(batch)
    expected = evaluate(chain, "lower", x, chain.omega, batch), evaluate(chain, "upper", x, chain.omega, batch)
    passes: list[int] = []

    def both(x: Any, omega: Any, batch: Any) -> Any:
        passes.append(1)
        shared = (x[0] * x[1]) @ omega[0] + omega[1]
        fit = (torch.sigmoid(shared) - 0.3 * batch[1]).square().sum()
        lower = fit + 0.05 * sum(w.square().sum() for w in omega)
        return lower, (F.softplus(shared) - batch[1]).square().mean() + 0.1 * x[0].square().sum()

    for way in ("apart", "together"):
        if way == "together":
            chain.both = both
        for found, wanted in zip(evaluate_both(chain, x, chain.omega, batch), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-13, atol=1e-15)
    assert passes == [1]
    assert all(t.grad is None for t in (*chain.theta, *chain.omega))
    chain.both = lambda x, omega, batch: (both(x, omega, batch)[0], x[0].sum())
    with refused("bilevel.no-gradient", "F_upper", group="omega"):
        evaluate_both(chain, x, chain.omega, batch)
