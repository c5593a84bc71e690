"""Python code in a process of its own, for what depends on the modules that are imported."""

from __future__ import annotations

import subprocess
import sys


def fresh_python(code: str, *arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run code and check how it ends."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done
