"""What tests share: places of the checkout, and how an error is asserted."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from restore_hub.errors import RestoreHubError

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PIPELINES = ROOT / "pipelines"
LOWLIGHT = PIPELINES / "raw_lowlight.yaml"
# Small enough for a test: narrow blocks, small crops, few steps, no tracker.
SMALL = (
    "blocks.generate.width=2",
    "blocks.generate.depth=1",
    "blocks.enhance.width=4",
    "data.train.crop=16",
    "data.upper.crop=16",
    "tracker=",
)
Capture = pytest.CaptureFixture[str]


@contextlib.contextmanager
def refused(
    code: str, place: object = None, kind: type[RestoreHubError] = RestoreHubError, **facts: Any
) -> Iterator[pytest.ExceptionInfo[RestoreHubError]]:
    """Expect an error by its code, and by a part of its place and some of its facts where they are given.

    The English of a message is nobody's contract. That it can be read at all is checked here.
    """
    with pytest.raises(kind) as caught:
        yield caught
    error = caught.value
    check(error, code, place, **facts)


def check(error: BaseException | None, code: str, place: object = None, **facts: Any) -> None:
    """Check an error that was caught elsewhere, such as `CliRunner`'s `result.exception`."""
    assert isinstance(error, RestoreHubError), repr(error)
    assert error.code == code, str(error)
    if place is not None:
        assert str(place) in error.place, error.place
    for name, value in facts.items():
        assert error.facts[name] == value, error.facts
    assert "\n" not in str(error), str(error)
    unfilled = re.search(r"\{[a-z_.]+(![rs])?(:[^ {}]+)?\}", f"{error.what} {error.mend}")
    assert unfilled is None, f"{error.code} lacks a fact: {unfilled[0]}"
