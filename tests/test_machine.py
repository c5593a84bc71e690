"""What this machine leaves to a process, as control groups of both versions say it."""

from __future__ import annotations

from pathlib import Path

from restore_hub.machine import _cpu_limits, _memory_groups, free_disk, usable_cpus
from support.fresh import fresh_python

MIB = 1 << 20


def test_limits_of_control_groups_are_found_up_to_the_root(tmp_path: Path) -> None:
    files = {
        "memory.max": "max\n",
        "cpu.max": "max 100000\n",
        "outer/memory.max": "4096\n",
        "outer/cpu.max": "150000 100000\n",
        "outer/job:1/memory.max": "max\n",
        "outer/memory.current": "1000\n",
        "outer/memory.stat": "anon 500\ninactive_file 300\n",
        "x/memory.max": "1\n",
        "x/cpu.max": "",
        "memory/old/memory.limit_in_bytes": "8192\n",
        "memory/old/memory.usage_in_bytes": "2000\n",
        "cpu,cpuacct/x/cpu.cfs_quota_us": "50000\n",
        "cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    }
    files = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    files["proc/self/cgroup"] = "7:cpu,cpuacct:/x\n5:memory:/old\n3:cpuset:/y\n0::/outer/job:1\n"
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
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
    before, after, machine = map(int, fresh_python(code).stdout.split())
    assert before + 60 * MIB < after < machine
    assert free_disk(tmp_path / "not" / "there") == free_disk(tmp_path) > 0
    assert usable_cpus() >= 1
