"""Progress of a stage: a bar on a terminal, or else a line now and then; and everything in a log file."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tqdm import tqdm

from restore_hub.terminal import SECONDS_BETWEEN_LINES, has_bar

_log: Path | None = None
_quiet = False


class Progress:
    """Shows steps, losses and the time left; use as a context manager.

    Args:
        label: what runs.
        total: number of steps, or of seconds when `unit` is `s`.
        unit: `step`, or `s` for seconds.
        begun: how much of the total was done before a resumed run was stopped.
    """

    def __init__(self, label: str, total: float, unit: str = "step", begun: float = 0.0) -> None:
        self._label = label
        self._total = total
        self._unit = unit
        self._started = time.monotonic()
        self._printed = self._started
        self._done = self._begun = min(begun, total)
        self._updates = 0
        form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"  # tqdm puts ", " before the postfix
        wide = has_bar() and not _quiet
        self._bar = tqdm(total=total, initial=self._begun, desc=label, bar_format=form, leave=True) if wide else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, done: float, values: Mapping[str, float]) -> None:
        """Show the newest values after another step, with `done` of the total done."""
        text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        now = time.monotonic()
        self._updates += 1
        rate = _rate(self._updates, now - self._started)
        if self._bar is not None:
            short = "  ".join(f"{name.removeprefix('loss/')} {value:.3g}" for name, value in values.items())
            self._bar.set_postfix_str(f"{short}  {rate.replace(' steps', '')}", refresh=False)
            self._bar.update(min(done, self._total) - self._done)
            self._done = min(done, self._total)
        if now - self._printed >= SECONDS_BETWEEN_LINES or done >= self._total:
            self._printed = now
            left = (now - self._started) * (self._total - done) / max(done - self._begun, 1e-9)
            unit = self._unit if self._unit == "s" or self._total == 1 else f"{self._unit}s"
            amount = f"{done:.0f}/{self._total:.0f} {unit}"
            line = f"{self._label}: {amount}, {rate}, {max(left, 0):.0f} s left  {text}"
            _write_log(line)
            if self._bar is None and not _quiet:
                print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def logging_to(path: Path | None, *, quiet: bool = False) -> Iterator[None]:
    """Write all lines to a file too, with the time; with `quiet`, only there."""
    global _log, _quiet
    before = _log, _quiet
    _log, _quiet = path, quiet
    try:
        yield
    finally:
        _log, _quiet = before


def note(text: str, *, even_quiet: bool = False) -> None:
    """Print a line to standard error, above the bar if there is one."""
    _write_log(text)
    if even_quiet or not _quiet:
        tqdm.write(text, file=sys.stderr)


def _rate(steps: int, seconds: float) -> str:
    """Return the speed in steps per second or seconds per step, whichever is above 1."""
    each = seconds / steps
    return f"{each:.3g} s/step" if each > 1 else f"{1 / max(each, 1e-9):.3g} steps/s"


def _write_log(text: str) -> None:
    """Append to the log; a full disk must not end the run because of it."""
    if _log is not None and _log.parent.is_dir():
        with contextlib.suppress(OSError), _log.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")
