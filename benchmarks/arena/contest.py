"""Contenders in processes of their own, timed in turn, so that other load on the machine affects all equally."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

# With these, glibc keeps memory instead of mapping new pages, with page faults, for every large tensor.
HOLDING = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(64 << 20)}


class Contender:
    """A process that answers requests, a line of JSON each.

    Args:
        command: a script that calls `serve`, with its arguments.
        threads: for torch.
        hold: whether its allocator keeps freed memory.
    """

    def __init__(self, command: Sequence[str | Path], threads: int = 1, hold: bool = False) -> None:
        environment = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))}
        environment |= HOLDING if hold else {}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  lives as long as the process
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Return the answer; without one, raise RuntimeError with the last line that the process wrote."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            written = [text for text in self._errors.read().splitlines() if text.strip()]
            raise RuntimeError(written[-1] if written else f"ended with {self._process.returncode}")
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise RuntimeError(answer["failed"])
        return answer

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()
        self._errors.close()

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer requests from standard input until it ends; anything else printed goes to standard error."""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        for line in sys.stdin:
            try:
                found = answer(json.loads(line))
            except Exception as error:  # reported to the caller; the next request may succeed
                found = {"failed": f"{type(error).__name__}: {error}"}
            out.write(json.dumps(found) + "\n")
            out.flush()


def interleave(
    contenders: Mapping[str, Contender], repeats: int, requests: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[float]]:
    """Ask each contender `repeats` times in turn, after a warm-up round; return their `seconds`."""
    seconds: dict[str, list[float]] = {name: [] for name in requests}
    for repeat in range(repeats + 1):
        for name, request in requests.items():
            taken = contenders[name].ask(**request)["seconds"]
            if repeat:
                seconds[name].append(taken)
    return seconds


def ratio(above: Iterable[float], below: Iterable[float]) -> float:
    """Return the median of the ratios of times from the same rounds."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))
