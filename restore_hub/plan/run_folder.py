"""What a run folder was made from, and its checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from restore_hub.errors import ExportError
from restore_hub.plan.plan import Plan, make_plan
from restore_hub.registry import Registry
from restore_hub.spec import Document


def plan_of_run(run: Path, registry: Registry) -> tuple[dict[str, Any], Plan]:
    """Return the resolved spec of a run folder, and the plan of it.

    Raises:
        ExportError: not a run folder.
    """
    try:
        resolved = json.loads((run / "spec.json").read_text(encoding="utf-8"))
        document = Document(run / "spec.json", resolved["spec"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ExportError("train.not-a-run", run, missing="spec.json") from None
    return resolved, make_plan(document, registry)


def checkpoint_of(run: Path, name: str) -> Path:
    """Return the file of a checkpoint, such as `best`, `last` or `stage-1`.

    Raises:
        ExportError: the run has none of that name.
    """
    checkpoint = run / "checkpoints" / f"{name}.pt"
    if not checkpoint.is_file():
        known = ", ".join(sorted(path.stem for path in (run / "checkpoints").glob("*.pt"))) or "none yet"
        raise ExportError("export.no-weights", run, name=name, known=known)
    return checkpoint
