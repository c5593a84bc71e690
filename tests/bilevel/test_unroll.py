"""What unrolled steps keep, what they leave where a step fails, and how a problem sees them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import optim

from restore_hub.bilevel import descend, evaluate, reverse, unroll
from restore_hub.contracts import Batches
from support import refused


@pytest.mark.parametrize(
    ("seeds", "last", "kept", "graphs"),
    [
        ((0,), None, 1, [True]),
        ((0,), 2, 1, [True]),
        ((0, 1, 2), None, 3, [True] * 3),
        ((0, 1, 2), 2, 2, [False, True, True]),
    ],
)
def test_each_distinct_batch_is_coupled_once_and_answers_once(
    chain: Any, make_batch: Any, seeds: Any, last: int | None, kept: int, graphs: list[bool]
) -> None:
    batches = Batches(None, [make_batch(s) for s in seeds], 3)
    found = unroll(chain, optim.SGD(chain.omega, lr=0.05), batches, last=last)
    assert chain.forwards == graphs
    assert len(found.x) == len(found.roots) == kept
    assert all(not root.grad_fn and root.requires_grad for group in found.roots for root in group)
    above = evaluate(chain, "upper", found.x[-1], chain.omega, make_batch(5))
    responses = reverse(found, above.omega)
    assert [[r.shape for r in group] for group in responses] == [[t.shape for t in group] for group in found.x]
    assert chain.backwards == 0


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_steps_before_one_that_fails_stand(chain: Any, make_batch: Any, failing: int) -> None:
    batches = Batches(None, [make_batch(s) for s in range(3)], 3)
    plain = type(chain)()
    adam, own = optim.Adam(chain.omega, lr=0.05), optim.Adam(plain.omega, lr=0.05)
    if failing:
        descend(plain, own, Batches(None, batches.lower[:failing], failing), graph=False)
    batches.lower[failing][1][0, 0] = float("nan")
    with refused("bilevel.not-finite", "value of F_lower"):
        unroll(chain, adam, batches)
    torch.testing.assert_close(chain.omega, plain.omega, rtol=1e-13, atol=1e-15)
    assert [int(adam.state[w]["step"]) if failing else len(adam.state[w]) for w in chain.omega] == [failing] * 2


def test_a_pair_sees_each_unrolled_step_at_the_live_omega(chain: Any, make_batch: Any) -> None:
    """By their memory, as steps in place are: what tells running statistics which passes to follow."""
    seen, lower = [], chain.lower

    def watched(x: Any, omega: Any, batch: Any) -> torch.Tensor:
        seen.append([w.data_ptr() == own.data_ptr() for w, own in zip(omega, chain.omega, strict=True)])
        return lower(x, omega, batch)

    chain.lower = watched
    unroll(chain, optim.SGD(chain.omega, lr=0.05, momentum=0.9), Batches(None, [make_batch(0)], 3), last=2)
    assert seen == [[True, True]] * 3


def test_steps_in_place_afterwards_leave_the_graph_alone(chain: Any, make_batch: Any) -> None:
    """Omega shares its memory with the end of the graph, which no operation in the graph reads."""
    batches = Batches(None, [make_batch(0)], 2)
    for own in (optim.SGD, optim.Adam):
        responses = []
        for moved in (False, True):
            again = type(chain)()
            found = unroll(again, own(again.omega, lr=0.05), batches)
            above = evaluate(again, "upper", found.x[-1], again.omega, make_batch(5))
            if moved:
                with torch.no_grad():
                    for w in again.omega:
                        w.fill_(7.0)
            responses.append(reverse(found, above.omega))
        torch.testing.assert_close(responses[0], responses[1], rtol=0, atol=0)
