"""Starts the process that measures a stage, and says how it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict

from restore_hub import errors
from restore_hub.errors import TrainingError
from restore_hub.train.error_place import LESS_MEMORY
from restore_hub.trial.stage_probe import Measured, Probe

# The same search path as here, whatever this program did to it.
CHILD = (
    "import json, sys; request = json.load(sys.stdin); sys.path[:] = request.pop('path'); "
    "from restore_hub.trial.stage_probe import main; main(request)"
)


def measure(probe: Probe) -> Measured:
    """Measure a stage in a process of its own, so that its peak of memory is its own and it can be killed alone.

    Raises:
        RestoreHubError: the one that the process met, or a TrainingError that says how it ended.
    """
    path = [entry or os.getcwd() for entry in sys.path]
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps({**asdict(probe), "path": path}),
        capture_output=True,
        text=True,
        check=False,
    )
    answer = {} if done.returncode else json.loads(done.stdout)
    if "measured" not in answer and os.environ.get("RESTORE_HUB_TRACEBACK"):
        sys.stderr.write(done.stderr)
    if done.returncode:
        raise TrainingError(f"{probe.label} {_ended(done.returncode, done.stderr)}")
    if "error" in answer:
        raise getattr(errors, answer["error"], TrainingError)(answer["text"])
    return Measured(**answer["measured"])


def _ended(status: int, said: str) -> str:
    """Say how a process ended that gave no answer; a shell or container tells signals as 128 and more."""
    number = -status if status < 0 else status - 128
    if number == signal.SIGKILL:
        return f"was killed, most likely for lack of memory; {LESS_MEMORY}"
    if number > 0:
        return f"was ended by signal {number}"
    last = said.strip().splitlines()[-1:] or [f"status {status}"]
    return f"failed: {last[0][:300]}; with RESTORE_HUB_TRACEBACK=1 the whole of it is shown"
