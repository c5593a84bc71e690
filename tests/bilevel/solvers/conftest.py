"""The solvers of two levels."""

from __future__ import annotations

from typing import Any

import pytest

from restore_hub.bilevel.solvers import Alternating, Bda, Cg, F2sa, Ibgl, Lwcl, Neumann, Rhg, Tbgl, TruncatedRhg


class Series(Neumann):
    """With a rate of its own, so that any lower optimizer will do."""

    def __init__(self) -> None:
        super().__init__(rate=0.05)


FIRST_ORDER = [Alternating, Tbgl, Ibgl, Lwcl, F2sa]
UNROLLED = [Rhg, TruncatedRhg, Bda]
TWO_LEVELS: list[Any] = [*FIRST_ORDER, Cg, Series, *UNROLLED]


@pytest.fixture(params=TWO_LEVELS)
def kind(request: pytest.FixtureRequest) -> Any:
    """Return each solver of two levels."""
    return request.param


@pytest.fixture
def kinds() -> list[Any]:
    """Return all solvers of two levels."""
    return TWO_LEVELS
