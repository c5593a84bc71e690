"""How much memory running an exported file takes, measured in a fresh process."""

from __future__ import annotations

from pathlib import Path

from restore_hub.errors import ModelFileError
from restore_hub.fresh_process import ProcessEndedError, call
from restore_hub.machine import peak_memory
from restore_hub.model.manifest import Memory
from restore_hub.model.model import load, probe_feeds

SIDES = (256, 640, 1024)  # growing, since a process's peak never falls; the first warms up


def measure_memory(path: Path) -> Memory:
    """Return the peak memory of a process that runs the file, as a line through two picture sizes.

    Raises:
        ModelFileError: the process failed.
    """
    # Each tensor in pages of its own, like those of a large picture; else fragmentation counts too.
    environment = {"MALLOC_MMAP_THRESHOLD_": "65536"}
    try:
        _, (few, less), (many, more) = call(f"{__name__}:peaks", str(path), environment=environment)
    except ProcessEndedError as error:
        raise ModelFileError("model.not-measured", path, quantity="memory", cause=error.last_line) from error
    per_pixel = max(more - less, 0) / (many - few)
    return Memory(base=round(more - per_pixel * many), per_pixel=round(per_pixel, 1))


def peaks(path: str) -> list[tuple[int, int]]:
    """Run pictures of growing size; return the pixels of each, and this process's peak in bytes after it."""
    model, found = load(path, arena=False), []
    for side in SIDES:
        model(probe_feeds(model.manifest.inputs, 0, side, side))
        found.append((side * side, peak_memory()))
    return found
