"""The thread that brings a run to its tracker, so that training never waits for one."""

from __future__ import annotations

import shlex
import threading
from typing import Literal

from restore_hub.train.progress import note
from restore_hub.train.recording.tracker_queue import Outbox

EVERY_SECONDS = 5.0  # between two looks at the run folder
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds between tries while the tracker is away
SLOW_SECONDS = 30.0  # a look that takes longer is said to hang
FINISH_SECONDS = 10.0  # what a run waits for its tracker at its end


class Courier:
    """Sends what the run folder holds, now and then; a tracker that fails or hangs is tried again."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._status: Literal["RUNNING", "FINISHED", "FAILED", "KILLED"] = "RUNNING"
        self._closing, self._given_up = threading.Event(), threading.Event()
        self._away, self._where = False, ""
        self._delivered = False
        self._thread = threading.Thread(target=self._work, name="tracker", daemon=True)
        self._thread.start()

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> str:
        """Give what is unsent ten seconds; return where the run can be seen, nothing where the tracker lacks some."""
        self._status = status
        self._closing.set()
        try:
            self._thread.join(FINISH_SECONDS)
        finally:
            self._given_up.set()
            self._outbox.close()
        if not self._delivered:
            command = f"restore-hub track {shlex.quote(str(self._outbox.folder))}"
            note(f"the tracker did not take all of the run; `{command}` sends the rest")
        return self._where

    def _work(self) -> None:
        pause = FIRST_PAUSE
        while not self._given_up.is_set():
            closing = self._closing.is_set()  # asked first: what was recorded before it is sent below
            alarm = threading.Timer(SLOW_SECONDS, self._say_away, ["it does not answer"])
            alarm.daemon = True
            alarm.start()
            try:
                self._where = self._outbox.send(self._status if closing else "RUNNING")
            except Exception as error:  # a plugin's call may raise anything
                self._say_away(" ".join(str(error).split())[:200] or type(error).__name__)
                wait, pause = (FIRST_PAUSE, pause) if closing else (pause, min(2 * pause, LONGEST_PAUSE))
            else:
                self._say_back()
                if closing:
                    self._delivered = True
                    return
                wait, pause = EVERY_SECONDS, FIRST_PAUSE
            finally:
                alarm.cancel()
            (self._given_up if closing else self._closing).wait(wait)

    def _say_away(self, reason: str) -> None:
        if not self._away and not self._given_up.is_set():
            self._away = True
            note(f"the tracker is away ({reason}); the run goes on, and the tracker gets the rest once it is back")

    def _say_back(self) -> None:
        if self._away:
            self._away = False
            note("the tracker is back, and has all that it missed")
