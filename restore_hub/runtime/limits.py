"""What a process took of memory, and what the machine has of memory and disk."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

KIB = 1024


def peak_memory() -> int:
    """Return the most memory, in bytes, that this process held at once."""
    try:
        # Linux hands the parent's ru_maxrss on to a child; VmHWM begins with the program.
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return KIB * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource  # not everywhere

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else KIB * peak


def machine_memory() -> int:
    """Return the memory in bytes that a process here may take: that of the machine, or less where a cgroup says so."""
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_cgroup_limits(Path("/"))])


def available_memory() -> int:
    """Return the memory in bytes that is free for a process here without swapping; all there is where nobody says."""
    limit = machine_memory()
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return min(limit, KIB * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")))
    except (OSError, StopIteration):
        return limit


def free_disk(folder: Path) -> int:
    """Return the free bytes where a folder lies or would lie."""
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _cgroup_limits(root: Path) -> Iterator[int]:
    """Yield the limits of this process's control groups and of those around them, versions 1 and 2."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        base = root / "sys/fs/cgroup" / controllers
        file = "memory.limit_in_bytes" if controllers else "memory.max"
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(base) and (folder / file).is_file():
                text = (folder / file).read_text(encoding="ascii").strip()
                if text.isdecimal():  # not "max"
                    yield int(text)
