"""The command in processes of its own, and a small disk."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class Disk:
    """A small disk in memory, mounted in namespaces of its own; it goes with the process that holds them.

    Attributes:
        path: its folder, for processes in these namespaces.
        seen: the same folder, for others.
        namespaces: files that stand for them.
    """

    def __init__(self, place: Path, size: int) -> None:
        how = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        begin = f'mount -t tmpfs -o size={size} disk "$0" && echo mounted && exec cat'
        try:
            self._holder = subprocess.Popen(
                ["unshare", *how, "--mount", "sh", "-c", begin, place],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        except FileNotFoundError:
            pytest.skip("no disk can be mounted here: there is no unshare")
        said = self._holder.stdout.readline() if self._holder.stdout else ""
        if said != "mounted\n":
            self._holder.communicate()
            pytest.skip(f"no disk can be mounted here: {said.strip()}")
        self.path, self.seen = place, Path(f"/proc/{self._holder.pid}/root{place}")
        kinds = ("user", "mnt") if how else ("mnt",)
        self.namespaces = [f"/proc/{self._holder.pid}/ns/{kind}" for kind in kinds]

    def remount(self, options: str) -> None:
        """Change how much it holds: `size=BYTES`, `nr_inodes=NUMBER`."""
        self._do("mount", "-o", f"remount,{options}", self.path)

    def read_only(self) -> None:
        """Let nobody write any more, also who has files open, which `remount,ro` would wait for."""
        self._do("mount", "--bind", self.path, self.path)
        self._do("mount", "-o", "remount,bind,ro", self.path)

    def writable(self) -> None:
        """Take `read_only` back."""
        self._do("umount", self.path)

    def clear(self) -> None:
        """Remove all that is on it."""
        for path in self.seen.iterdir():
            shutil.rmtree(path)

    def _do(self, *command: str | Path) -> None:
        into = [f"--{name}={file}" for name, file in zip(("mount", "user"), self.namespaces[::-1], strict=False)]
        subprocess.run(["nsenter", *into, *command], check=True)

    def close(self) -> None:
        self._holder.communicate()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Return a disk of 64 MiB, made smaller or read-only by a test; skip where none can be mounted."""
    (tmp_path / "disk").mkdir()
    made = Disk(tmp_path / "disk", 64 << 20)
    try:
        yield made
    finally:
        made.close()


COMMAND = """
import ctypes, os, sys
for namespace in namespaces:
    if ctypes.CDLL(None, use_errno=True).setns(os.open(namespace, os.O_RDONLY), 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), namespace)
os.chdir(folder)
os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1)
import torch
torch.set_num_threads(1)
from restore_hub.cli import main
main(arguments)
"""


@pytest.fixture(scope="session")
def processes() -> Any:
    """Return where processes come from that have PyTorch imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["restore_hub.train.run", "restore_hub.cli.run"])
    return context


@pytest.fixture
def start(processes: Any, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that starts `restore-hub` in a process of its own, which says all in `tmp_path/NAME.txt`.

    Its current folder is `tmp_path`; it sees a disk that is given.
    """

    def begin(name: str, *arguments: str | Path, on: Disk | None = None) -> Any:
        given = {
            "namespaces": on.namespaces if on else [],
            "folder": str(tmp_path),
            "said": str(tmp_path / f"{name}.txt"),
            "arguments": [str(argument) for argument in arguments],
        }
        process = processes.Process(target=exec, args=(COMMAND, given), daemon=True)  # a hung one ends with the tests
        process.start()
        return process

    return begin


@pytest.fixture
def call(start: Callable[..., Any], tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Return a function that runs `restore-hub` to its end; it returns the exit status and what was said."""

    def whole(name: str, *arguments: str | Path, on: Disk | None = None) -> tuple[int, str]:
        process = start(name, *arguments, on=on)
        process.join()
        return process.exitcode, (tmp_path / f"{name}.txt").read_text()

    return whole
