"""Calls a function in a fresh Python process, so that its peak of memory and its caches are its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

# The same search path as here, whatever this program did to it.
_CHILD = """
import importlib, json, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever is printed, also at exit, is no answer
request = json.load(sys.stdin)
sys.path[:] = request["path"]
module, name = request["target"].split(":")
answer = getattr(importlib.import_module(module), name)(*request["arguments"])
with answers:
    json.dump(answer, answers)
"""


class ProcessEndedError(Exception):
    """The process gave no answer.

    Attributes:
        status: its exit status; negative, or 128 and more, for a signal.
        said: what it wrote to standard error.
    """

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.said = said

    @property
    def signal(self) -> int:
        """The signal that ended it, 0 for none; shells and containers tell signals as 128 and more."""
        return max(-self.status, self.status - 128, 0)

    @property
    def last_line(self) -> str:
        """The last line it wrote, or its status."""
        return (self.said.strip().splitlines() or [f"status {self.status}"])[-1]


def call(target: str, *arguments: Any, environment: Mapping[str, str] | None = None) -> Any:
    """Return what a function returns in a fresh process.

    Args:
        target: `module:function`. What it prints goes to standard error.
        arguments, and what it returns: plain values that JSON can hold.
        environment: variables set beside this process's own.

    Raises:
        ProcessEndedError: the process gave no answer.
    """
    path = [entry or os.getcwd() for entry in sys.path]
    done = subprocess.run(
        [sys.executable, "-c", _CHILD],
        input=json.dumps({"path": path, "target": target, "arguments": arguments}),
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not done.stdout:  # a function that ends the process gives no answer, whatever the status
        raise ProcessEndedError(done.returncode, done.stderr)
    return json.loads(done.stdout)
