"""What running an exported file takes of memory: `python -m restore_hub.model.memory_use FILE` in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from restore_hub.errors import ModelFileError
from restore_hub.machine import peak_memory
from restore_hub.model.manifest import Memory
from restore_hub.model.model import load, probe_feeds

SIDES = (256, 640, 1024)  # growing, since the peak of a process never falls; the first warms up


def measure(path: Path) -> Memory:
    """Return what a fresh process holds at most, as a line through two sizes of picture.

    Raises:
        ModelFileError: it did not come through.
    """
    code = f"import sys; sys.path[:] = {sys.path}; from {__name__} import main; main()"
    # Every tensor in pages of its own, as those of a large picture are: else fragments count too.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        raise ModelFileError(f"the memory that {path} takes could not be measured: {last}")
    _, (few, less), (many, more) = json.loads(done.stdout)
    per_pixel = max(more - less, 0) / (many - few)
    return Memory(base=round(more - per_pixel * many), per_pixel=round(per_pixel, 1))


def main() -> None:
    """Print [pixels, peak in bytes] of pictures of growing size."""
    model, found = load(sys.argv[1], arena=False), []
    for side in SIDES:
        model(probe_feeds(model.manifest.inputs, 0, side, side))
        found.append((side * side, peak_memory()))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
