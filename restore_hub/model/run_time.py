"""How long one exported file runs compared with another, measured in a fresh process."""

from __future__ import annotations

import time
from pathlib import Path

from restore_hub.errors import ModelFileError
from restore_hub.fresh_process import ProcessEndedError, call
from restore_hub.machine import usable_cpus
from restore_hub.model.manifest import Speed
from restore_hub.model.model import load, probe_feeds
from restore_hub.model.session import open_session

SIDE = 512  # of the picture
ROUNDS = (3, 9)  # at least and at most; a slow network stops between them, after SECONDS
SECONDS = 10.0


def compare_run_times(path: Path, other: Path) -> list[Speed]:
    """Return one file's run time over another's with the same inputs, with one thread and with all.

    Both take turns in one fresh process on the CPU, so whatever else runs slows both alike. The shortest run of each
    counts.

    Raises:
        ModelFileError: the process failed.
    """
    try:
        ratios = call(f"{__name__}:time_ratios", str(path), str(other))
    except ProcessEndedError as error:
        raise ModelFileError("model.not-measured", path, quantity="run time", cause=error.last_line) from error
    return [Speed(ratio=round(ratio, 3), threads=threads, height=SIDE, width=SIDE) for threads, ratio in ratios]


def time_ratios(*paths: str) -> list[tuple[int, float]]:
    """Return the first file's run time over the second's, for one thread and for all: (threads, ratio)."""
    feeds = probe_feeds(load(paths[0]).manifest.inputs, 0, SIDE, SIDE)
    found = []
    for threads in sorted({1, usable_cpus()}):
        sessions = [open_session(Path(path), "cpu", threads=threads) for path in paths]
        times: list[list[float]] = [[], []]
        for session in sessions:  # the first run of each sets up its memory
            session.run(None, feeds)
        begin = time.perf_counter()
        while len(times[0]) < ROUNDS[0] or (len(times[0]) < ROUNDS[1] and time.perf_counter() - begin < SECONDS):
            for session, taken in zip(sessions, times, strict=True):
                start = time.perf_counter()
                session.run(None, feeds)
                taken.append(time.perf_counter() - start)
        found.append((threads, min(times[0]) / min(times[1])))
    return found
