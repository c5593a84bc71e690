"""Trains the pipeline, and from its warm start other solvers for the time of its bilevel stage."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_hub import run
from restore_hub.export.runs import export_run
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from restore_hub.train.run import Result
from restore_hub.train.run_state import StageResult

PIPELINE = Path(__file__).resolve().parent.parent / "raw_lowlight.yaml"


@dataclass(frozen=True)
class Variant:
    """One trained chain: its name, the result of its last stage, and its ONNX file."""

    name: str
    stage: StageResult
    chain: Path

    @property
    def label(self) -> str:
        """The name in letters and dashes, for a folder."""
        return "-".join(re.findall(r"[a-z]+", self.name))


def train(data: Path, out: Path, steps: Sequence[int]) -> tuple[Result, list[Variant]]:
    """Run the pipeline into `out/run`, then the others into `out/variants`.

    Args:
        data: folder of the splits `train`, `upper`, `holdout`, and `both` (train and upper together).
        out: folder of the demo.
        steps: outer steps of the first stages, instead of the pipeline's.
    """
    roots = [f"data.{split}.root={data / split}" for split in ("train", "upper", "holdout")]
    shorter = [f"stages.{index}.steps={count}" for index, count in enumerate(steps)]
    done = run(PIPELINE, overrides=[*roots, *shorter], out=out / "run")
    names = ("warm start (joint)", "then bilevel (ibgl)")
    variants = [
        Variant(name, stage, _export(done.folder, f"stage-{number}", out / "variants" / f"stage-{number}"))
        for number, (name, stage) in enumerate(zip(names, done.stages, strict=True), 1)
    ]
    document = read_spec(PIPELINE, roots).data
    for name, spec in _others(document, data, done).items():
        overrides = [f"{key}={json.dumps(value)}" for key, value in spec.items()]
        folder = out / "variants" / name
        result = run(PIPELINE, overrides=overrides, out=folder)
        variants.append(Variant(f"then {name}", result.stages[0], _export(folder, "last", folder / "export")))
    return done, variants


def _others(document: dict[str, Any], data: Path, done: Result) -> dict[str, dict[str, Any]]:
    """Return the overrides of each other solver: the pipeline's own stages, for the seconds of its bilevel one.

    `joint` has no levels, so it trains on the pictures of both.
    """
    warm, bilevel = ({k: v for k, v in stage.items() if k != "steps"} for stage in document["stages"])
    time = {"minutes": done.stages[1].seconds / 60}
    start = {f"blocks.{name}.weights": str(done.folder / "checkpoints" / "stage-1.pt") for name in document["blocks"]}
    splits = document["data"]
    together = {"train": {**splits["train"], "root": str(data / "both")}, "holdout": splits["holdout"]}
    return {
        "alternating": {**start, "data": splits, "stages": [{**bilevel, **time, "solver": "alternating"}]},
        "joint": {**start, "data": together, "stages": [{**warm, **time}]},
    }


def _export(folder: Path, weights: str, out: Path) -> Path:
    """Export a run's chain from a checkpoint by name, whatever its validation score."""
    return next(path for path in export_run(folder, default_registry(), weights, out) if path.stem == "chain")
