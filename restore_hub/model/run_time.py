"""How long one exported file runs beside another: `python -m restore_hub.model.run_time FILE OTHER` does it alone."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from restore_hub.errors import ModelFileError
from restore_hub.machine import usable_cpus
from restore_hub.model.manifest import Speed
from restore_hub.model.model import load, probe_feeds
from restore_hub.model.session import open_session

SIDE = 512  # of the picture
ROUNDS = (3, 9)  # at least and at most; a slow network stops at SECONDS in between
SECONDS = 10.0


def compare_speed(path: Path, other: Path) -> list[Speed]:
    """Return the time of one file over that of another of the same inputs, with one thread and with all.

    Both run in turns in a fresh process on the CPU, so that what else the machine does slows both alike; the
    shortest run of each counts.

    Raises:
        ModelFileError: it did not come through.
    """
    code = f"import sys; sys.path[:] = {sys.path}; from {__name__} import main; main()"
    command = [sys.executable, "-c", code, str(path), str(other)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        raise ModelFileError(f"the speed of {path} could not be measured: {last}")
    return [
        Speed(ratio=round(ratio, 3), threads=threads, height=SIDE, width=SIDE)
        for threads, ratio in json.loads(done.stdout)
    ]


def main() -> None:
    """Print [threads, time of the first file over that of the second]."""
    paths = [Path(name) for name in sys.argv[1:]]
    feeds = probe_feeds(load(paths[0]).manifest.inputs, 0, SIDE, SIDE)
    found = []
    for threads in sorted({1, usable_cpus()}):
        sessions = [open_session(path, "cpu", threads=threads) for path in paths]
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
    print(json.dumps(found))


if __name__ == "__main__":
    main()
