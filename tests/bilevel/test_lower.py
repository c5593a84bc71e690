from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import optim

from restore_hub.bilevel import couple_levels, descend
from restore_hub.contracts import Batches
from support import refused


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, lr=0.05, momentum=0.7), lambda p: optim.Adam(p, lr=0.02)])
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_steps_are_those_of_the_optimizer_on_detached_x(chain: Any, make_batch: Any, make: Any, seeds: Any) -> None:
    batches = [make_batch(s) for s in seeds]
    plain = type(chain)()
    theirs = make(plain.omega)
    for i in range(3):
        theirs.zero_grad()
        x = tuple(t.detach() for t in plain.couple(batches[min(i, len(batches) - 1)]))
        loss = plain.lower(x, plain.omega, batches[min(i, len(batches) - 1)])
        loss.backward()
        theirs.step()
    places = [w.data_ptr() for w in chain.omega]
    found = descend(chain, make(chain.omega), Batches(None, batches, steps=3), graph=True)
    torch.testing.assert_close(chain.omega, plain.omega, rtol=0, atol=0)
    assert [w.data_ptr() for w in chain.omega] == places
    assert found.loss.item() == loss.item()
    torch.testing.assert_close(found.omega_grad, tuple(w.grad for w in plain.omega), rtol=0, atol=0)
    assert all(w.grad is None for w in chain.omega)


@pytest.mark.parametrize("graph", [True, False])
def test_upper_block_runs_once_a_batch_and_never_backward(chain: Any, make_batch: Any, graph: bool) -> None:
    optimizer = optim.SGD(chain.omega, lr=0.01)
    fresh = descend(chain, optimizer, Batches(None, [make_batch(i) for i in range(3)], steps=3), graph=graph)
    assert chain.forwards == [False, False, graph]
    assert fresh.x[0].requires_grad is graph
    chain.forwards.clear()
    descend(chain, optimizer, Batches(None, [make_batch(0)], steps=4), graph=graph)
    assert chain.forwards == [graph]
    assert chain.backwards == 0
    assert all(t.grad is None for t in chain.theta)


def test_what_is_coupled_already_serves_steps_on_the_same_batches(chain: Any, make_batch: Any) -> None:
    first, upper, last = (make_batch(i) for i in range(3))
    batches = Batches(upper, [upper, first, last], steps=3)
    levels = couple_levels(chain, batches)
    assert chain.forwards == [True, True]  # the last lower batch, then the upper one
    descend(chain, optim.SGD(chain.omega, lr=0.01), batches, levels=levels)
    assert chain.forwards == [True, True, False]  # the batch in between alone
    plain = type(chain)()
    descend(plain, optim.SGD(plain.omega, lr=0.01), batches)
    torch.testing.assert_close(chain.omega, plain.omega, rtol=1e-14, atol=0)


@pytest.mark.parametrize(("lower", "steps"), [(2, 3), (3, 1), (0, 1), (1, 0)])
def test_batches_must_fit_the_steps(chain: Any, make_batch: Any, lower: int, steps: int) -> None:
    batches = Batches(None, [make_batch(i) for i in range(lower)], steps=steps)
    with refused("bilevel.lower-batches" if steps else "bilevel.no-lower-steps"):
        descend(chain, optim.SGD(chain.omega, lr=0.01), batches, graph=False)


def test_a_step_that_is_not_finite_is_not_taken(chain: Any, make_batch: Any) -> None:
    before = [w.detach().clone() for w in chain.omega]
    bad = make_batch(0)
    bad[1][0, 0] = float("inf")
    with refused("bilevel.not-finite", "value of F_lower"):
        descend(chain, optim.SGD(chain.omega, lr=0.01), Batches(None, [bad]), graph=False)
    torch.testing.assert_close([w.detach() for w in chain.omega], before, rtol=0, atol=0)


def test_a_coupling_that_is_no_tuple_is_refused(chain: Any, make_batch: Any) -> None:
    """Rows of a tensor would pass for the tensors of x, and all but the first few would stay untrained in silence."""
    chain.couple = lambda _: chain.theta[0]
    optimizer = optim.SGD(chain.omega, lr=0.01)
    with refused("bilevel.coupling-not-a-tuple", got="Tensor"):
        descend(chain, optimizer, Batches(None, [make_batch(0)]))
    with refused("bilevel.coupling-not-a-tuple"):
        couple_levels(chain, Batches(make_batch(0), [make_batch(1)]))


@pytest.mark.parametrize(("second", "kind"), [(torch.arange(3), "torch.int64"), (None, "NoneType")])
def test_a_coupling_of_other_than_real_numbers_is_refused(chain: Any, make_batch: Any, second: Any, kind: str) -> None:
    chain.couple = lambda _: (chain.theta[0], second)
    with refused("bilevel.coupling-not-real", "x[1]", got=kind):
        descend(chain, optim.SGD(chain.omega, lr=0.01), Batches(None, [make_batch(0)]))


@pytest.mark.parametrize("wrap", [lambda batch: {"pairs": batch}, lambda batch: batch[0], lambda _: None])
def test_a_batch_in_the_place_of_a_list_of_batches_is_refused(chain: Any, make_batch: Any, wrap: Any) -> None:
    """The rows of a tensor would pass for the batches of as many steps."""
    batches = Batches(None, wrap(make_batch(0)), steps=5)
    with refused("bilevel.lower-not-a-list"):
        descend(chain, optim.SGD(chain.omega, lr=0.01), batches)
