"""The thread that sends a run to its tracker, so that training never waits for one."""

from __future__ import annotations

import shlex
import threading
from typing import Literal

from restore_hub.errors import reason_of
from restore_hub.train.progress import note
from restore_hub.train.recording.tracker_queue import TrackerQueue

EVERY_SECONDS = 5.0  # between two readings of the run folder
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds between tries while the tracker is unreachable
SLOW_SECONDS = 30.0  # after this the tracker is reported as not answering
FINISH_SECONDS = 10.0  # how long a run waits for its tracker at the end
NO_ANSWER = "no answer"


class TrackerThread:
    """Sends what is new in the run folder, every few seconds; tries again if the tracker fails or hangs."""

    def __init__(self, queue: TrackerQueue) -> None:
        self._queue = queue
        self._status: Literal["RUNNING", "FINISHED", "FAILED", "KILLED"] = "RUNNING"
        self._closing, self._given_up = threading.Event(), threading.Event()
        self._away, self._where = "", ""  # why it's unreachable; where the run can be seen
        self._delivered = False
        self._thread = threading.Thread(target=self._work, name="tracker", daemon=True)
        self._thread.start()

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> str:
        """Send the rest for at most ten seconds; return where the run can be seen, or nothing if some is missing."""
        self._status = status
        self._closing.set()
        try:
            self._thread.join(FINISH_SECONDS)
        finally:
            self._given_up.set()
            self._queue.close()
        if not self._delivered:
            command = f"restore-hub track {shlex.quote(str(self._queue.folder))}"
            note(f"the tracker doesn't have all of the run; `{command}` sends the rest")
        return self._where

    def _work(self) -> None:
        pause = FIRST_PAUSE
        while not self._given_up.is_set():
            closing = self._closing.is_set()  # asked first, so that everything recorded before is sent below
            alarm = threading.Timer(SLOW_SECONDS, self._report_away, [NO_ANSWER])
            alarm.daemon = True
            alarm.start()
            try:
                self._where = self._queue.send(self._status if closing else "RUNNING")
            except Exception as error:  # a plugin's call may raise anything
                self._report_away(reason_of(error, limit=200))
                wait, pause = (FIRST_PAUSE, pause) if closing else (pause, min(2 * pause, LONGEST_PAUSE))
            else:
                self._report_back()
                if closing:
                    self._delivered = True
                    return
                wait, pause = EVERY_SECONDS, FIRST_PAUSE
            finally:
                alarm.cancel()
            (self._given_up if closing else self._closing).wait(wait)

    def _report_away(self, reason: str) -> None:
        """Say once why it's unreachable; a call that only gave no answer may tell more in the end."""
        if self._away in ("", NO_ANSWER) and reason != self._away and not self._given_up.is_set():
            self._away = reason
            note(f"the tracker is unreachable ({reason}); training continues, and it gets the rest once it's back")

    def _report_back(self) -> None:
        if self._away:
            self._away = ""
            note("the tracker is back and has everything it missed")
