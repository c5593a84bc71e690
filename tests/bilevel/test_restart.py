"""Cold restarts of the lower level."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import optim

from restore_hub.bilevel import Start, descend
from restore_hub.contracts import Batches


def moved(chain: Any, optimizer: optim.Optimizer, batch: Any) -> list[torch.Tensor]:
    descend(chain, optimizer, Batches(None, [batch], 3), graph=False)
    return [w.detach().clone() for w in chain.omega]


@pytest.mark.parametrize(
    "make", [lambda p: optim.SGD(p, lr=0.05, momentum=0.9), lambda p: optim.Adam(p, lr=0.05, amsgrad=True)]
)
@pytest.mark.parametrize("before", [0, 2])
def test_lower_steps_repeat_to_the_bit_after_a_restart(chain: Any, make_batch: Any, make: Any, before: int) -> None:
    """The optimizer may have stepped before; its memory goes back, too, and its learning rate stays as it was set."""
    optimizer, batch = make(chain.omega), make_batch(0)
    for _ in range(before):
        moved(chain, optimizer, make_batch(1))
    places, start = [w.data_ptr() for w in chain.omega], Start(optimizer)
    first = moved(chain, optimizer, batch)
    warm = moved(chain, optimizer, batch)
    for _ in range(2):  # what was kept is not written into
        start.restore()
        assert all(torch.equal(a, b) for a, b in zip(moved(chain, optimizer, batch), first, strict=True))
    assert not torch.equal(warm[0], first[0])
    assert [w.data_ptr() for w in chain.omega] == places
    optimizer.param_groups[0]["lr"] = 0.01
    start.restore()
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert not torch.equal(moved(chain, optimizer, batch)[0], first[0])


def test_a_saved_start_is_where_another_process_goes_back_to(chain: Any, make_batch: Any) -> None:
    optimizer = optim.Adam(chain.omega, lr=0.05)
    moved(chain, optimizer, make_batch(1))
    start, buffer = Start(optimizer), io.BytesIO()
    first = moved(chain, optimizer, make_batch(0))
    torch.save(start.state_dict(), buffer)
    buffer.seek(0)
    other = type(chain)(seed=5)
    adam = optim.Adam(other.omega, lr=0.05)
    again = Start(adam)
    again.load_state_dict(torch.load(buffer, weights_only=True))
    for theirs, ours in zip(other.theta, chain.theta, strict=True):
        theirs.data.copy_(ours)
    again.restore()
    assert all(torch.equal(a, b) for a, b in zip(moved(other, adam, make_batch(0)), first, strict=True))


def test_a_state_that_carries_more_is_told(chain: Any) -> None:
    told = []
    start = Start(optim.SGD(chain.omega, lr=0.05))
    start.restore(type("State", (), {"restart": lambda _: told.append(True)})())
    assert told == [True]
    start.restore(object())
