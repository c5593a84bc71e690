"""Ctrl-C and SIGTERM as a request to stop, which the loop obeys between two steps."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Notes the first signal, and lets a second one stop the process at once; use as a context manager.

    Outside the main thread it does nothing, because Python handles signals only there.

    Args:
        launched: `torchrun` started this process along with others. Print nothing, since each of them gets the
            signal; and once this one has failed, ignore the SIGTERM that `torchrun` sends to those that are left after
            the first has ended, because it would cut off the report of the error.

    Attributes:
        asked: whether the user asked to stop.
    """

    def __init__(self, *, launched: bool = False) -> None:
        self.asked, self._launched = False, launched
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._before.items():
            cut_off = self._launched and failure is not None and number == signal.SIGTERM
            signal.signal(number, signal.SIG_IGN if cut_off else handler)
        self._before = {}

    def _note(self, *_: int | FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        if self._launched:
            return
        # Straight to the terminal: a signal may come in the middle of a print.
        with contextlib.suppress(OSError):
            os.write(
                2, b"\nstopping after this step; a second signal stops now and loses the steps since the checkpoint\n"
            )
