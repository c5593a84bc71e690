"""The folder of a new run, or of one to resume."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from restore_hub.errors import TrainingError, reason_of
from restore_hub.files import whole_file
from restore_hub.train.recording.folder import RunFolder
from restore_hub.train.recording.spec_differences import differences, summary


def create_run_folder(runs: Path, name: str, at: Path | None = None) -> RunFolder:
    """Make `runs/<name>-<date>-<time>` (or `at`) with its subfolders.

    Raises:
        TrainingError: the folder can't be written, or `at` exists and is not empty.
    """
    path = at or _free(runs / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    if at is not None and at.exists() and (not at.is_dir() or any(at.iterdir())):
        raise TrainingError("train.out-not-empty", at)
    return _prepared(path)


def find_unfinished(runs: Path, name: str, resolved: Mapping[str, Any], at: Path | None) -> RunFolder | None:
    """Return the run to resume: `at`, or the unfinished run of the same resolved spec in `runs` that ran last.

    `None` if there is none yet.

    Raises:
        TrainingError: `at` is not a run, is finished, or has another spec (the text names the keys that differ).
    """
    resolved = json.loads(json.dumps(resolved))  # as it is saved: tuples are lists
    if at is None:
        found = [path for path in runs.glob(f"{name}-*") if (path / "spec.json").is_file()]
        unfinished = [path for path in found if RunFolder(path).read_status() != "FINISHED"]
        same = [path for path in unfinished if not differences(_saved(path), resolved)]
        return _prepared(max(same, key=_order)) if same else None
    if not at.exists():
        return None
    if not [path for path in at.rglob("*") if path.is_file() and path.name[0] != "." and path.name != "log.txt"]:
        return _prepared(at)  # ended before it wrote anything
    differing = differences(_saved(at), resolved)
    if differing:
        raise TrainingError("train.other-spec", at, differences=summary(differing))
    if RunFolder(at).read_status() == "FINISHED":
        raise TrainingError("train.finished", at)
    return _prepared(at)


def _prepared(path: Path) -> RunFolder:
    """Make the folder and number it, so that of several unfinished runs the one that ran last is known."""
    folder = RunFolder(path)
    folders = (folder.path, folder.checkpoints, folder.export, folder.pictures)
    try:
        for each in folders:
            each.mkdir(parents=True, exist_ok=True)
        last = max((_order(other.parent) for other in path.parent.glob("*/.order")), default=0)
        with whole_file(path / ".order", path / ".order.part", sync=True) as place:
            place.write_bytes(b"%d\n" % (last + 1))
    except OSError as error:
        for each in reversed(folders):
            with contextlib.suppress(OSError):  # those that aren't empty stay
                each.rmdir()
        raise TrainingError("train.run-folder-unwritable", path, cause=reason_of(error)) from None
    return folder


def _order(path: Path) -> int:
    """Return a number that is higher the later a run last began or resumed (clocks may jump); 0 if unknown."""
    try:
        return int((path / ".order").read_bytes())
    except (OSError, ValueError):
        return 0


def _saved(path: Path) -> Any:
    try:
        return json.loads((path / "spec.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError("train.not-a-run", path, missing="spec.json") from error


def _free(path: Path) -> Path:
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate
