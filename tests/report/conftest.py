"""The folder of a run, made by hand: quick, and of known content."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restore_hub.photo.picture_writer import write_picture

STAGES = [
    {"solver": "std/joint", "steps": 6, "blocks": ["a"], "objective": "f", "data": "train"},
    {"solver": "std/ibgl", "steps": 4, "upper": {}, "lower": {"steps": 2}},
]
COMPARED = {"prediction": "out", "target": "data.rgb"}
SPEC: dict[str, Any] = {
    "name": "small",
    "seed": 0,
    "data": {"train": {"dataset": "raw/pairs", "batch_size": 2}, "holdout": {"dataset": "raw/pairs", "batch_size": 1}},
    "stages": STAGES,
    "metrics": {
        "psnr": {"metric": "std/psnr", "inputs": COMPARED},
        "mine": {"metric": "gone/mine", "inputs": COMPARED},
    },
    "export": {"weights": "last"},
}


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a run folder; its keywords replace keys of the spec."""

    def make(name: str = "r", shade: float = 0.5, **spec: Any) -> Path:
        folder = tmp_path / name
        for part in ("checkpoints", "export", "pictures"):
            (folder / part).mkdir(parents=True)
        components = {"loss std/l1": {"owner": "restore-hub", "version": "0.1.0"}}
        write(folder / "spec.json", {"spec": {**SPEC, **spec}, "components": components})
        write(folder / "environment.json", {"python": "3.11.7", "threads": 3, "packages": {"torch": "2.9.0"}})
        notes = ["two & a half scenes"]
        write(folder / "data.json", {"train": {"samples": 7, "notes": notes}, "holdout": {"samples": 1}})
        write(folder / "status.json", {"status": "FINISHED"})
        took = {"solver": "std/joint", "steps": 6, "seconds": 12.34, "evaluations": 6}
        write(folder / "stages.json", [took, {**took, "solver": "std/ibgl", "steps": 4, "evaluations": 24}])
        lines: list[dict[str, float]] = [{"step": step, "loss": 1.0 / step} for step in range(1, 7)]
        lines += [{"step": 6, "holdout/psnr": 20.25, "holdout/mine": 3.0}]
        bilevel = {"loss/upper": 0.1, "loss/lower": 0.2, "cosine": -0.5}
        lines += [{"step": step, "s": 10.0**-step, **bilevel} for step in range(7, 11)]
        lines += [{"step": 10, "holdout/psnr": 19.75, "holdout/mine": 4.0}]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        for role in ("input", "output", "reference"):
            write_picture(folder / "pictures" / f"0-p-{role}.png", np.full((12, 16, 3), shade))
        return folder

    return make


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))
