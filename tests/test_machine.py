"""What this machine leaves to a process, as control groups of both versions say it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from restore_hub.machine import _cpu_limits, _memory_groups, free_disk, usable_cpus

MIB = 1 << 20


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_limits_of_control_groups_are_found_up_to_the_root(tmp_path: Path) -> None:
    _write(tmp_path / "proc/self/cgroup", "7:cpu,cpuacct:/x\n5:memory:/old\n3:cpuset:/y\n0::/outer/job:1\n")
    groups = tmp_path / "sys/fs/cgroup"
    for folder, memory, cpu in (
        ("", "max\n", "max 100000\n"),
        ("outer", "4096\n", "150000 100000\n"),
        ("x", "1\n", ""),
    ):
        _write(groups / folder / "memory.max", memory)
        _write(groups / folder / "cpu.max", cpu)
    _write(groups / "outer/job:1/memory.max", "max\n")
    _write(groups / "outer/memory.current", "1000\n")
    _write(groups / "outer/memory.stat", "anon 500\ninactive_file 300\n")
    _write(groups / "memory/old/memory.limit_in_bytes", "8192\n")
    _write(groups / "memory/old/memory.usage_in_bytes", "2000\n")
    _write(groups / "cpu,cpuacct/x/cpu.cfs_quota_us", "50000\n")
    _write(groups / "cpu,cpuacct/x/cpu.cfs_period_us", "100000\n")
    _write(groups / "cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
    _write(groups / "cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert list(_memory_groups(tmp_path)) == [(8192, 2000), (4096, 700)]
    assert list(_cpu_limits(tmp_path)) == [0.5, 1.5]
    assert list(_memory_groups(tmp_path / "none")) == []
    assert list(_cpu_limits(tmp_path / "none")) == []


def test_memory_disk_and_cpus_of_this_machine(tmp_path: Path) -> None:
    """In a process of its own, because one that held much before has its peak behind it."""
    code = (
        "from restore_hub.machine import machine_memory, peak_memory\n"
        f"before, held = peak_memory(), bytearray({64 * MIB})\n"
        "held[::1024] = b'x' * len(held[::1024])\n"
        "print(before, peak_memory(), machine_memory())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after, machine = map(int, done.stdout.split())
    assert before + 60 * MIB < after < machine
    assert free_disk(tmp_path / "not" / "there") == free_disk(tmp_path) > 0
    assert usable_cpus() >= 1
