"""Tensors alive at once in a step, in vectors of the size of omega: a solver frees what it no longer needs."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
N = 4000


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("toy")


@pytest.mark.parametrize(
    ("solver", "steps", "vectors"),
    [
        ("alternating", 10, 5),
        ("tbgl", 1, 7),
        ("lwcl", 10, 5),
        ("rhg", 10, 17),
        ("truncated-rhg", 10, 13),
        ("bda", 10, 28),
        ("cg", 10, 9),
        ("neumann", 10, 10),
        ("f2sa", 10, 8),
    ],
)
def test_a_step_holds_no_more_vectors_than_it_needs(toy: Any, solver: str, steps: int, vectors: int) -> None:
    run = toy.Run(solver, N, steps)
    run.step()
    assert vectors - 1 < toy.peak_bytes(run.step) / (8 * N) < vectors + 0.1
