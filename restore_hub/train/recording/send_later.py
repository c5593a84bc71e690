"""Sends a run to a tracker afterwards, from its folder alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

from restore_hub.contracts import Tracker
from restore_hub.errors import RestoreHubError, TrainingError, reason_of
from restore_hub.plan.plan import make_plan
from restore_hub.registry import Registry
from restore_hub.spec import read_spec
from restore_hub.train.recording.folder import RunFolder
from restore_hub.train.recording.recorder import spec_hash
from restore_hub.train.recording.tracker_queue import RunInfo, Status, TrackerQueue


def track_run(run: Path, registry: Registry, overrides: Sequence[str] = ()) -> str | None:
    """Send a tracker what it lacks of a run; return where the run can be seen, or `None` if it lacked nothing.

    Args:
        run: the run folder.
        registry: what is registered.
        overrides: `tracker.key=value`, or `tracker={tracker: …}` for a run without one.

    Raises:
        TrainingError: not a run folder, no tracker, one that fails, or a run that is still being recorded.
    """
    run = run.resolve()
    info = _info(run)
    plan = make_plan(read_spec(run / "spec.json", overrides), registry)
    if plan.tracker is None:
        raise TrainingError("train.no-tracker", run)
    tracker: Tracker = plan.tracker.make(folder=run.parent)
    tracker.check()
    queue = TrackerQueue(run, tracker, info, threading.Lock())
    last = RunFolder(run).read_status()
    # The queue is ours, so no process records the run and it isn't running, whatever its last status.
    status: Status = "FINISHED" if last == "FINISHED" else "FAILED" if last == "FAILED" else "KILLED"
    try:
        return queue.send(status) if queue.pending(status) else None
    except RestoreHubError:
        raise
    except Exception as error:  # a plugin's call may raise anything
        raise TrainingError("train.tracker-failed", f"tracker {tracker.store}", cause=reason_of(error)) from error
    finally:
        queue.close()


def _info(run: Path) -> RunInfo:
    try:
        resolved = json.loads((run / "spec.json").read_text(encoding="utf-8"))
        facts = json.loads((run / "environment.json").read_text(encoding="utf-8"))
        tags = {"revision": facts["revision"] or "not a git checkout", "spec_sha256": spec_hash(resolved)}
        return RunInfo(resolved["spec"]["name"], resolved, tags)
    except (OSError, ValueError, KeyError, TypeError):
        raise TrainingError("train.not-a-run", run, missing="spec.json and environment.json") from None
