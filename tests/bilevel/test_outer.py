from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import optim

from restore_hub.bilevel import Pull, evaluate, hypergradient, shares_batch, step_upper
from restore_hub.contracts import Batches
from support import refused
from support.level_pair import differences


def pull(x: Any, seed: int) -> Pull:
    g = torch.Generator().manual_seed(seed)
    return Pull(x, tuple(torch.randn(t.shape, generator=g, dtype=torch.float64) for t in x))


def plain(chain: Any, pulls: tuple[Pull, ...], batches: Any) -> Any:
    """The same sum by one ordinary backward pass for each pull."""
    total = [torch.zeros_like(t) for t in chain.theta]
    for one, batch in zip(pulls, batches, strict=True):
        value = sum((t * c).sum() for t, c in zip(chain.couple(batch), one.cotangent, strict=True))
        for t, g in zip(total, torch.autograd.grad(value, chain.theta), strict=True):
            t += g
    return tuple(total)


@pytest.mark.parametrize("shared", [True, False])
def test_cotangents_of_both_levels_go_back_in_one_pass(chain: Any, make_batch: Any, shared: bool) -> None:
    batches = (make_batch(0),) * 2 if shared else (make_batch(0), make_batch(1))
    first = chain.couple(batches[0])
    second = first if shared else chain.couple(batches[1])
    pulls = pull(first, 1), pull(second, 2)
    found = hypergradient(chain, *pulls)
    assert chain.backwards == (1 if shared else 2)
    torch.testing.assert_close(found, plain(chain, pulls, batches), rtol=1e-13, atol=1e-14)


def test_direct_gradient_agrees_with_finite_differences(chain: Any, make_batch: Any) -> None:
    batch = make_batch(0)
    x = chain.couple(batch)
    found = hypergradient(chain, Pull(x, evaluate(chain, "upper", x, chain.omega, batch).x))

    def value() -> float:
        with torch.no_grad():
            return chain.upper(chain.couple(batch), chain.omega, batch).item()

    exact = differences(chain, value, 1e-6)
    torch.testing.assert_close(torch.cat([g.flatten() for g in found]), exact, rtol=1e-6, atol=1e-8)


def test_step_is_the_optimizers_and_leaves_the_gradient(chain: Any, make_batch: Any) -> None:
    x = chain.couple(make_batch(0))
    one = pull(x, 3)
    expected = plain(chain, (one,), (make_batch(0),))
    before = [t.detach().clone() for t in chain.theta]
    step_upper(chain, optim.SGD(chain.theta, lr=0.3), one)
    for t, old, g in zip(chain.theta, before, expected, strict=True):
        torch.testing.assert_close(t.grad, g)
        torch.testing.assert_close(t.detach(), old - 0.3 * g)


def test_narrow_coupling_takes_a_wide_cotangent() -> None:
    theta = torch.tensor([1.0, 2.0], requires_grad=True)
    chain = type("", (), {"theta": (theta,), "theta_names": ("t",)})()
    x = ((3 * theta).bfloat16(),)
    found = hypergradient(chain, Pull(x, (torch.ones(2, dtype=torch.bfloat16),)), Pull(x, (torch.ones(2),)))
    assert found[0].tolist() == [6.0, 6.0]


def test_a_coupling_cut_from_theta_is_an_error(chain: Any, make_batch: Any) -> None:
    with torch.no_grad():
        x = chain.couple(make_batch(0))[:1]
    with refused("bilevel.coupling-without-graph", "x"):
        hypergradient(chain, pull(x, 0))
    other = (torch.ones(2, dtype=torch.float64, requires_grad=True) * 2,)
    with refused("bilevel.no-gradient", "x", group="theta"):
        hypergradient(chain, pull(other, 0))


def test_a_hypergradient_that_is_not_finite_is_named_and_not_stepped(chain: Any, make_batch: Any) -> None:
    before = [t.detach().clone() for t in chain.theta]
    x = chain.couple(make_batch(0))
    bad = Pull(x, (torch.zeros_like(x[0]), torch.full_like(x[1], torch.inf)))
    with refused("bilevel.not-finite", "hypergradient by late"):
        step_upper(chain, optim.SGD(chain.theta, lr=0.3), bad)
    torch.testing.assert_close([t.detach() for t in chain.theta], before, rtol=0, atol=0)


def test_only_the_very_same_object_is_a_shared_batch(make_batch: Any) -> None:
    batch = make_batch(0)
    assert shares_batch(Batches(batch, [make_batch(1), batch], steps=2))
    assert not shares_batch(Batches(make_batch(0), [batch]))
