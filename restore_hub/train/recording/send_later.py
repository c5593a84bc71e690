"""A run to a tracker, afterwards and from its folder alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

from restore_hub.contracts import Tracker
from restore_hub.errors import RestoreHubError, TrainingError
from restore_hub.plan.plan import make_plan
from restore_hub.registry import Registry
from restore_hub.spec import read_spec
from restore_hub.train.recording.folder import RunFolder
from restore_hub.train.recording.recorder import spec_hash
from restore_hub.train.recording.tracker_queue import About, Outbox, Status


def track_run(run: Path, registry: Registry, overrides: Sequence[str] = ()) -> str | None:
    """Send a tracker what it has not had of a run; return where the run can be seen, `None` where it had all.

    Args:
        run: the run folder.
        registry: what is registered.
        overrides: `tracker.key=value`, or `tracker={tracker: …}` for a run that had none.

    Raises:
        TrainingError: not a run folder, no tracker, one that fails, or a run that is still recorded.
    """
    run = run.resolve()
    about = _about(run)
    plan = make_plan(read_spec(run / "spec.json", overrides), registry)
    if plan.tracker is None:
        raise TrainingError(
            f"the spec of {run} names no tracker; give one: --set 'tracker={{tracker: mlflow/tracking}}'"
        )
    tracker: Tracker = plan.tracker.target(folder=run.parent, **plan.tracker.options)
    tracker.check()
    outbox = Outbox(run, tracker, about, threading.Lock())
    shown = RunFolder(run).read_status()
    # A run that nobody records does not run, whatever it last said of itself.
    status: Status = "FINISHED" if shown == "FINISHED" else "FAILED" if shown == "FAILED" else "KILLED"
    try:
        return outbox.send(status) if outbox.pending(status) else None
    except RestoreHubError:
        raise
    except Exception as error:  # a plugin's call may raise anything
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise TrainingError(f"the tracker {tracker.store} failed: {reason}; the same command sends the rest") from error
    finally:
        outbox.close()


def _about(run: Path) -> About:
    try:
        resolved = json.loads((run / "spec.json").read_text(encoding="utf-8"))
        facts = json.loads((run / "environment.json").read_text(encoding="utf-8"))
        tags = {"revision": facts["revision"] or "not a git checkout", "spec_sha256": spec_hash(resolved)}
        return About(resolved["spec"]["name"], resolved, tags)
    except (OSError, ValueError, KeyError, TypeError):
        raise TrainingError(
            f"{run} is not the folder of a run: it has no readable spec.json and environment.json"
        ) from None
