"""Trains the pipeline, and from its warm start other solvers for the time of its bilevel stage."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from arms import go_on

from restore_hub import run
from restore_hub.export.runs import export_run
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from restore_hub.train.run import Result
from restore_hub.train.run_state import StageResult

PIPELINE = Path(__file__).resolve().parent.parent / "few_references.yaml"


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
    """Run the pipeline into `out/run`, then the other solvers into `out/variants`.

    Args:
        data: folder of the splits `references`, `dark`, `holdout`.
        out: folder of the demo.
        steps: outer steps of the first stages, instead of the pipeline's.
    """
    roots = [f"data.{split}.root={data / split}" for split in ("references", "dark", "holdout")]
    shorter = [f"stages.{index}.steps={count}" for index, count in enumerate(steps)]
    done = run(PIPELINE, overrides=[*roots, *shorter], out=out / "run")
    warm, stages = done.folder / "checkpoints" / "stage-1.pt", done.stages
    variants = [
        Variant("warm start (joint)", stages[0], _export(done.folder, "stage-1", out / "variants" / "warm-start")),
        Variant("then bilevel (ibgl)", stages[1], _chain(done.exported)),
    ]
    for solver in ("alternating", "joint"):
        goes_on = go_on(read_spec(PIPELINE).data, solver, warm, stages[1].seconds)
        overrides = [*roots, *goes_on, "export.blocks=[]"]
        result = run(PIPELINE, overrides=overrides, out=out / "variants" / solver)
        variants.append(Variant(f"then {solver}", result.stages[0], _chain(result.exported)))
    return done, variants


def _export(folder: Path, weights: str, out: Path) -> Path:
    """Export a run's chain from a checkpoint by name, whatever its validation score."""
    return _chain(export_run(folder, default_registry(), weights, out))


def _chain(files: Iterable[Path]) -> Path:
    return next(path for path in files if path.stem == "chain")
