"""A function in a fresh process: its answer, whatever it prints, and how a process without an answer ended."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from restore_hub.fresh_process import ProcessEndedError, call

MODULE = """
import atexit, os, sys

def double(number):
    print("while it runs")
    atexit.register(print, "at exit")
    return {"double": 2 * number, "seen": os.environ.get("SEEN")}

def leave(status):
    print("out of luck", file=sys.stderr, flush=True)
    os._exit(status) if status >= 0 else os.kill(os.getpid(), -status)
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "called_afresh.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])


def test_the_answer_is_what_the_function_returns_and_nothing_it_prints() -> None:
    assert call("called_afresh:double", 21, environment={"SEEN": "yes"}) == {"double": 42, "seen": "yes"}


@pytest.mark.parametrize(
    ("status", "number"), [(0, 0), (3, 0), (137, signal.SIGKILL), (-signal.SIGTERM, signal.SIGTERM)]
)
def test_a_process_without_an_answer_says_how_it_ended(status: int, number: int) -> None:
    with pytest.raises(ProcessEndedError) as caught:
        call("called_afresh:leave", status)
    assert (caught.value.signal, caught.value.last_line) == (number, "out of luck")
