"""From a spec to a finished run: checked, trained, tracked, exported."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from restore_hub.contracts import Dataset
from restore_hub.errors import RestoreHubError
from restore_hub.plan.chain import Chain, build_chain
from restore_hub.plan.parts import Plan, make_plan
from restore_hub.plan.splits import check_splits_apart
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from restore_hub.train.folder import RunFolder, create_run_folder, environment
from restore_hub.train.loop import Run, StageResult, run_stage
from restore_hub.train.problem import Objectives
from restore_hub.train.publish import publish
from restore_hub.train.record import Record
from restore_hub.train.resolve import resolve
from restore_hub.train.weights import load_weights


@dataclass(frozen=True, slots=True)
class Result:
    """What a run leaves.

    Attributes:
        folder: the run folder.
        metrics: holdout means of the best weights, which are the exported ones; `step` is theirs.
        exported: the ONNX files.
        stages: what each stage took and reached.
        where: line that says where the tracker shows the run; empty without one.
    """

    folder: Path
    metrics: Mapping[str, float]
    exported: tuple[Path, ...]
    step: int
    stages: tuple[StageResult, ...]
    where: str


def run(
    spec: str | Path,
    *,
    overrides: Sequence[str] = (),
    plugins: Sequence[Path] = (),
    runs: str | Path = "runs",
    out: str | Path | None = None,
    device: str = "cpu",
) -> Result:
    """Run a pipeline spec.

    Args:
        spec: path of the YAML file; relative data paths in it start at the current folder.
        overrides: `key.path=value`, as `--set` on the command line.
        plugins: unpackaged plugin files.
        runs: folder that gets a new folder for this run, unless `out` names one.
        out: folder of this run; must not exist, or be empty.
        device: a torch device.

    Raises:
        RestoreHubError: one line that says what, where and how to mend it.
    """
    plan = make_plan(read_spec(Path(spec), overrides), default_registry(plugins))
    torch.manual_seed(plan.spec.seed)
    torch.set_flush_denormal(True)  # exp(-x) of edge weights is full of denormals: a step cost ten times as much
    chain = build_chain(plan).to(device).to(memory_format=torch.channels_last)  # a quarter faster on a CPU
    _load_weights(plan, chain)
    datasets: dict[str, Dataset] = {name: part.make() for name, part in plan.datasets.items()}
    check_splits_apart(datasets)
    folder = create_run_folder(Path(runs), plan.spec.name, Path(out) if out else None)
    record = Record(folder, _make_tracker(plan, folder))
    losses = {name: part.make() for name, part in plan.losses.items()}
    objectives = Objectives(losses, {name: part.inputs for name, part in plan.losses.items()})
    metrics = {name: part.make() for name, part in plan.metrics.items()}
    state = Run(plan, chain, objectives, datasets, metrics, record, torch.device(device))
    return _carry_out(state, plan)


def _carry_out(run: Run, plan: Plan) -> Result:
    folder = run.record.folder
    resolved = resolve(plan)
    folder.write_json("spec.json", resolved)
    facts = environment()
    folder.write_json("environment.json", facts)
    run.record.start(plan.spec.name, resolved, {"revision": str(facts["revision"])})
    try:
        for index in range(len(plan.spec.stages)):
            run_stage(run, index)
        exported = _export(run, plan, resolved)
    except KeyboardInterrupt:
        run.record.finish("KILLED")
        raise
    except Exception:
        run.record.finish("FAILED")
        _say_where(folder)
        raise
    where = run.record.finish("FINISHED")
    step = run.best_step if run.metrics else run.step
    return Result(folder.path, dict(run.best_metrics), exported, step, tuple(run.stages), where)


def _export(run: Run, plan: Plan, resolved: Mapping[str, Any]) -> tuple[Path, ...]:
    folder = run.record.folder
    weights = folder.checkpoints / ("best.pt" if run.best is not None else "last.pt")
    files = publish(plan, run.chain, weights, folder.export, resolved)
    for path in files:
        run.record.artifact(path)
    return files


def _say_where(folder: RunFolder) -> None:
    if (folder.checkpoints / "last.pt").exists():
        print(f"the last good weights are in {folder.checkpoints}", file=sys.stderr)


def _load_weights(plan: Plan, chain: Chain) -> None:
    for name, block in plan.spec.blocks.items():
        if block.weights is not None:
            try:
                load_weights(chain.blocks[name], name, Path(block.weights))
            except RestoreHubError as error:
                raise plan.document.error(str(error), "blocks", name, "weights") from None


def _make_tracker(plan: Plan, folder: RunFolder) -> Any:
    if plan.tracker is None:
        return None
    # Runs beside each other share one store, so that they can be compared.
    return plan.tracker.target(folder=folder.path.parent, **plan.tracker.options)
