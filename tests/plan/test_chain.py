"""Blocks run by name."""

from __future__ import annotations

from collections.abc import Callable

import torch

from restore_hub.plan import Plan, build_chain


def test_a_chain_runs_part_by_part(make: Callable[..., Plan]) -> None:
    chain = build_chain(make()).eval()
    wires = {"data.raw": torch.rand(1, 4, 8, 8), "data.rgb": torch.rand(1, 3, 16, 16)}
    whole = chain(wires)
    first = chain.run(["generate"], wires)
    assert "enhanced" not in first
    assert torch.equal(chain.run(["enhance"], first)["enhanced"], whole["enhanced"])
    assert set(wires) == {"data.raw", "data.rgb"}, "what was handed in is not changed"
    assert (chain.ports["enhanced"].channels, chain.ports["data.raw"].scale) == (3, 0.5)
