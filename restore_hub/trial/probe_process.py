"""Measures a stage in a fresh process, and turns the way that process ended into an error."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import asdict

from restore_hub import errors
from restore_hub.errors import RestoreHubError, TrainingError
from restore_hub.fresh_process import ProcessEndedError, call
from restore_hub.trial.stage_probe import Measurement, Probe


def measure_in_process(probe: Probe) -> Measurement:
    """Measure a stage in a process of its own, whose peak of memory is its own and which may be killed alone.

    Raises:
        RestoreHubError: the error raised there, or a TrainingError that says how the process ended.
    """
    try:
        answer = call("restore_hub.trial.stage_probe:answer", asdict(probe))
    except ProcessEndedError as ended:
        _show(ended.said)
        raise _error_of(ended, probe.label) from None
    if "error" in answer:
        _show(answer["traceback"])
        raise _raised(**answer["error"])
    return Measurement(**answer["measurement"])


def _show(text: str) -> None:
    if os.environ.get("RESTORE_HUB_TRACEBACK"):
        sys.stderr.write(text)


def _raised(kind: str, code: str, place: str, what: str, mend: str, facts: dict[str, object]) -> RestoreHubError:
    made: type[RestoreHubError] = getattr(errors, kind, TrainingError)
    return made(code, place, what=what, mend=mend, **facts)


def _error_of(ended: ProcessEndedError, label: str) -> TrainingError:
    if ended.signal == signal.SIGKILL:
        return TrainingError("trial.killed", label)
    if ended.signal:
        return TrainingError("trial.signal", label, signal=ended.signal)
    return TrainingError("trial.failed", label, cause=ended.last_line[:300])
