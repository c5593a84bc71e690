"""The bar on a real (pseudo) terminal, and plain lines where there is none or it has no width."""

from __future__ import annotations

import contextlib
import os
import re
import struct
import sys
from collections.abc import Callable
from io import StringIO

import pytest

from restore_hub.train import progress
from restore_hub.train.progress import Progress, note

pty = pytest.importorskip("pty", reason="pseudo-terminals exist on POSIX only")


def _on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int, show: Callable[[], None]) -> str:
    """Return what `show` writes to standard error on a terminal of a width."""
    import fcntl
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(theirs, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        show()
    text = b""
    with contextlib.suppress(OSError):  # what Linux says at the end; others give nothing
        while part := os.read(ours, 100_000):  # one reading may give a part
            text += part
    os.close(ours)
    return text.decode()


def _plain(monkeypatch: pytest.MonkeyPatch) -> tuple[StringIO, list[float]]:
    """Return what gets standard error where there is no terminal, and the time."""
    stream, now = StringIO(), [0.0]
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return stream, now


def _four_steps() -> None:
    with Progress("stage 1/1 joint", 4) as shown:
        for step in range(1, 5):
            shown.update(step, {"loss": 0.05})


def test_the_bar_joins_time_and_values_by_one_comma(monkeypatch: pytest.MonkeyPatch) -> None:
    text = _on_terminal(monkeypatch, 100, _four_steps)
    assert "100%|" in text
    assert re.search(r"<00:00, loss 0\.05  \S+/s$", text.rstrip())


def test_a_note_stands_in_its_own_line_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    def show() -> None:
        with Progress("stage 1/1 joint", 4) as shown:
            shown.update(2, {"loss": 0.05})
            note("left out")
            shown.update(4, {"loss": 0.05})

    lines = [line.strip() for line in _on_terminal(monkeypatch, 100, show).replace("\r", "\n").splitlines()]
    assert "left out" in lines
    assert "100%|" in [line for line in lines if line][-1]


def test_80_columns_show_both_losses_of_a_bilevel_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    def show() -> None:
        with Progress("stage 2/2 ibgl", 400) as shown:
            for step in range(1, 401):
                shown.update(step, {"loss/upper": 0.12345, "loss/lower": 0.067891})

    last = _on_terminal(monkeypatch, 80, show).rstrip().rpartition("\r")[2]
    assert re.search(r"400|100%\|.{4,}\|.*, upper 0\.123  lower 0\.0679  \S+/s$", last), last
    assert len(last) <= 80


def test_the_time_left_of_a_run_that_is_gone_on_with_counts_its_own_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, now = _plain(monkeypatch)
    with Progress("x", 1000, begun=900) as shown:
        for step in range(901, 932):
            now[0] += 0.5
            shown.update(step, {})
    assert stream.getvalue() == "x: 930/1000 steps, 2 steps/s, 35 s left  \n"


@pytest.mark.parametrize("columns", [0, 19])
def test_a_terminal_without_room_gets_plain_lines(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    text = _on_terminal(monkeypatch, columns, _four_steps)
    (line,) = text.splitlines()
    assert re.fullmatch(r"stage 1/1 joint: 4/4 steps, \S+ steps/s, 0 s left  loss 0\.05", line)


@pytest.mark.parametrize(
    ("total", "unit", "said"), [(4, "step", "4/4 steps, "), (1, "step", "1/1 step, "), (60, "s", "60/60 s, ")]
)
def test_units_agree_with_their_number(monkeypatch: pytest.MonkeyPatch, total: float, unit: str, said: str) -> None:
    stream, _ = _plain(monkeypatch)
    with Progress("x", total, unit) as shown:
        shown.update(total, {})
        note("stays")
    assert said in stream.getvalue()
    assert stream.getvalue().endswith("stays\n")


def test_progress_lines_are_seconds_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, now = _plain(monkeypatch)
    with Progress("x", 100) as shown:
        for step in range(1, 41):
            now[0] += 1.0 if step <= 16 else 2.0
            shown.update(step, {})
    assert stream.getvalue().splitlines() == [
        "x: 15/100 steps, 1 steps/s, 85 s left  ",
        "x: 23/100 steps, 1.3 s/step, 100 s left  ",
        "x: 31/100 steps, 1.48 s/step, 102 s left  ",
        "x: 39/100 steps, 1.59 s/step, 97 s left  ",
    ]
