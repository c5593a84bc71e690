"""How long a person waits for `check` and for the first training step, beside what importing torch takes.

Wall seconds of whole processes, asked in turn, on a spec that needs no data. The first step is over when
its values stand in `metrics.jsonl`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from arena.results import parser, publish, table

SPEC = "numerical"
PAUSE = 0.005  # seconds between two looks for the first step


def whole(command: list[str]) -> float:
    """Return how long a command takes."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def first_step(python: str) -> float:
    """Return how long a run takes until its first step is recorded."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "run" / "metrics.jsonl"
        command = [python, "-m", "restore_hub", "run", SPEC, "--out", str(journal.parent), "--quiet"]
        begun = time.perf_counter()
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        try:
            while not (journal.exists() and journal.stat().st_size):
                if process.poll() is not None:
                    sys.exit(f"the run ended before its first step: {process.communicate()[1].decode()}")
                time.sleep(PAUSE)
            return time.perf_counter() - begun
        finally:
            process.kill()
            process.communicate()


def waits(python: str) -> dict[str, Callable[[], float]]:
    """Return what is measured with a Python that has restore_hub installed."""
    return {
        "import torch": partial(whole, [python, "-c", "import torch"]),
        "restore-hub --help": partial(whole, [python, "-m", "restore_hub", "--help"]),
        "restore-hub check": partial(whole, [python, "-m", "restore_hub", "check", SPEC]),
        "restore-hub run, first step": partial(first_step, python),
    }


def main() -> None:
    """Time all waits in turn; medians, and what each adds to importing torch."""
    made = parser(__doc__, repeats=5)
    made.add_argument(
        "--against", metavar="PYTHON", help="also time the restore_hub of another Python, in the same run"
    )
    given = made.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    os.chdir(tempfile.gettempdir())  # `python -m` would take the restore_hub of the current folder
    pythons = {"here": sys.executable} | ({given.against: given.against} if given.against else {})
    sections = []
    times: dict[tuple[str, str], list[float]] = {}
    for repeat in range(given.repeats + 1):
        for place, python in pythons.items():
            for name, wait in waits(python).items():
                took = wait()
                if repeat:  # the first round fills the disk's cache
                    times.setdefault((place, name), []).append(took)
    for place in pythons:
        rows = []
        for name in waits(""):
            more = [a - b for a, b in zip(times[place, name], times[place, "import torch"], strict=True)]
            rows.append([name, f"{statistics.median(times[place, name]):.2f}", f"{statistics.median(more):.2f}"])
        heading = "" if place == "here" else f"With `{Path(place).parent.parent.parent.name}`:\n\n"
        sections.append(heading + table(["", "s", "beyond importing torch"], rows))
    conditions = f"{given.threads} thread; medians of {given.repeats} rounds, after one that warms up."
    publish("startup", __doc__, sections, given.results, conditions)


if __name__ == "__main__":
    main()
