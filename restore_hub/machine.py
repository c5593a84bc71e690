"""How much memory this process used, and the memory, CPUs and disk space that it may use."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

KIB = 1024


def peak_memory() -> int:
    """Return the peak memory of this process, in bytes."""
    try:
        # On Linux a child inherits its parent's ru_maxrss; VmHWM starts anew with the program.
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return KIB * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource  # not on every system

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else KIB * peak


def machine_memory() -> int:
    """Return the bytes of memory that this process may use: the machine's, or less if a control group limits it."""
    limits = (limit for limit, _ in _memory_groups(Path("/")))
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *limits])


def available_memory() -> int:
    """Return the bytes of memory that are free without swapping; all memory where the system doesn't tell."""
    free = [max(limit - held, 0) for limit, held in _memory_groups(Path("/"))]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free.append(KIB * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")))
    except (OSError, StopIteration):
        free.append(machine_memory())
    return min(free)


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use: those it's bound to, or fewer if a control group says so."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([bound, *(math.ceil(limit) for limit in _cpu_limits(Path("/")))]))


def free_disk(folder: Path) -> int:
    """Return the free bytes on the disk where a folder is, or would be."""
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _memory_groups(root: Path) -> Iterator[tuple[int, int]]:
    """Yield each control group's limit and use in bytes, without cached files that the kernel can drop."""
    for folder, version in _groups(root, "memory"):
        most, held, files = (
            ("memory.max", "memory.current", "inactive_file")
            if version == 2
            else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        )
        limit = _first_line(folder / most)
        if limit.isdecimal():  # not "max"
            now = _first_line(folder / held)
            yield int(limit), max((int(now) if now.isdecimal() else 0) - _stat(folder / "memory.stat", files), 0)


def _stat(file: Path, name: str) -> int:
    """Return a number from a file of lines `name number`; 0 if it isn't there."""
    try:
        lines = (line.split() for line in file.read_text(encoding="ascii").splitlines())
        return next(int(line[1]) for line in lines if line[:1] == [name])
    except (OSError, StopIteration, ValueError, IndexError):
        return 0


def _cpu_limits(root: Path) -> Iterator[float]:
    """Yield each control group's limit in CPUs, which may be a fraction."""
    for folder, version in _groups(root, "cpu"):
        if version == 2:
            quota, _, period = _first_line(folder / "cpu.max").partition(" ")
        else:
            quota, period = (_first_line(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        if quota.isdecimal() and period.isdecimal() and int(period):  # neither "max" nor -1
            yield int(quota) / int(period)


def _groups(root: Path, controller: str) -> Iterator[tuple[Path, int]]:
    """Yield folder and version of this process's control groups for a controller, and of the groups around them."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / controllers
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(base):
                yield folder, 1 if controllers else 2


def _first_line(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").partition("\n")[0].strip()
    except OSError:
        return ""
