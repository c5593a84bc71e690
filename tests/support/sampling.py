"""Slow sweeps: CI runs a random tenth of each, `make test-all` the whole. The seed stands at the top of the output."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
# Set for the processes that the tests start, too: all draw from one seed.
SEED = os.environ.setdefault("RESTORE_HUB_TEST_SEED", str(secrets.randbelow(2**32)))
WHOLE = bool(os.environ.get("RESTORE_HUB_TEST_ALL"))


def generator(name: str) -> random.Random:
    """Return the random generator of a sweep; `RESTORE_HUB_TEST_SEED` repeats a run."""
    return random.Random(f"{SEED} {name}")


def share(count: int) -> int:
    """Return how many of so many random trials to make."""
    return count if WHOLE else max(1, count // 10)


def tenth(name: str, cases: Sequence[T]) -> list[T]:
    """Return a random tenth of a sweep's cases, in order; all of them in a whole run."""
    chosen = sorted(generator(name).sample(range(len(cases)), share(len(cases))))
    return [cases[index] for index in chosen]
