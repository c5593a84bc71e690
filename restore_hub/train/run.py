"""From a spec to a finished run: checked, trained, tracked, exported."""

from __future__ import annotations

import contextlib
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from restore_hub.contracts import Dataset
from restore_hub.errors import RestoreHubError, TrainingError
from restore_hub.plan.chain import build_chain
from restore_hub.plan.objectives import Objectives
from restore_hub.plan.parts import Plan, make_plan
from restore_hub.plan.shipped import find_spec
from restore_hub.plan.splits import check_splits_apart, make_dataset, notes_of
from restore_hub.plan.weights import load_block_weights
from restore_hub.plugins import default_registry
from restore_hub.report import write_report
from restore_hub.spec import read_spec
from restore_hub.train.checkpoint import Position, load_state
from restore_hub.train.data import Samples
from restore_hub.train.folder import RunFolder, create_run_folder, environment, find_unfinished
from restore_hub.train.loop import Run, StageResult, run_stages
from restore_hub.train.progress import logging_to, note
from restore_hub.train.publish import publish
from restore_hub.train.record import Record
from restore_hub.train.resolve import resolve


@dataclass(frozen=True, slots=True)
class Result:
    """What a run leaves.

    Attributes:
        folder: the run folder.
        metrics: holdout means of the exported weights, which are those of `step`.
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
    resume: bool = False,
    inexact: bool = False,
    quiet: bool = False,
) -> Result:
    """Run a pipeline spec.

    Args:
        spec: path of the YAML file, or name of a shipped pipeline; relative data paths start at the current folder.
        overrides: `key.path=value`, as `--set` on the command line.
        plugins: unpackaged plugin files.
        runs: folder that gets a new folder for this run, unless `out` names one.
        out: folder of this run; must not exist, or be empty.
        device: a torch device.
        resume: go on with the run in `out`, or with the newest unfinished one in `runs` of the same resolved spec, to
            the same bits as if it had not been stopped; begin where there is none. (Stages limited by minutes take as
            many steps as they can.)
        quiet: print nothing while training; `log.txt` in the run folder has every line all the same.
        inexact: resume although threads, torch or the machine differ.

    Raises:
        RestoreHubError: one line that says what, where and how to mend it.

    Sets torch's random seed, and flushing of denormal numbers, for the whole process.
    """
    plan = make_plan(read_spec(find_spec(Path(spec)), overrides), default_registry(plugins))
    where = _device(device)
    torch.manual_seed(plan.spec.seed)
    torch.set_flush_denormal(True)  # exp(-x) of edge weights is full of denormals, which are slow
    chain = build_chain(plan).to(where).to(memory_format=torch.channels_last)  # what convolutions like best
    load_block_weights(plan, chain)
    datasets = {name: make_dataset(plan, name) for name in plan.datasets}
    check_splits_apart(datasets)
    losses = {name: part.make() for name, part in plan.losses.items()}
    objectives = Objectives(losses, {name: part.inputs for name, part in plan.losses.items()})
    metrics = {name: part.make() for name, part in plan.metrics.items()}
    resolved = resolve(plan)
    place = Path(out) if out else None
    unfinished = find_unfinished(Path(runs), plan.spec.name, resolved, place) if resume else None
    folder = unfinished or create_run_folder(Path(runs), plan.spec.name, place)
    record = Record(folder, _make_tracker(plan, folder))
    data = {name: _samples(plan, name, dataset, record) for name, dataset in datasets.items()}
    run = Run(plan, chain, objectives, data, metrics, record, where)
    with folder.hold(), run.stop, logging_to(folder.path / "log.txt", quiet=quiet):
        start = load_state(run, inexact=inexact) if unfinished else Position()
        if resume:
            note(f"going on with {folder.path} at step {run.step}" if unfinished else "nothing to resume; beginning")
        return _carry_out(run, resolved, start)


def _carry_out(run: Run, resolved: Mapping[str, Any], start: Position) -> Result:
    """Train, export and close the record; a run that fails before its first checkpoint leaves no folder."""
    plan, folder = run.plan, run.record.folder
    try:
        facts = environment()
        folder.write_json("spec.json", resolved)
        folder.write_json("environment.json", facts)
        folder.write_status("RUNNING")
        _introduce(run.data, folder)
        run.record.start(plan.spec.name, resolved, {"revision": facts["revision"] or "not a git checkout"})
        run_stages(run, start)
        weights = folder.checkpoints / f"{plan.spec.export.weights if run.metrics else 'last'}.pt"
        published = publish(plan, run.chain, weights, folder.export, resolved)
        for path in published.files:
            run.record.artifact(path, model=path == published.files[-1])  # the chain, where one is exported
        if (folder.path / "left_out.jsonl").exists():
            run.record.artifact(folder.path / "left_out.jsonl")
    except KeyboardInterrupt:
        with contextlib.suppress(RestoreHubError):  # where the disk is full, the line below matters more
            folder.save_weights("last", run.chain.blocks, {"step": run.step, "holdout": {}})
        _close(folder, "KILLED")
        note(f"stopped at step {run.step}; to go on: {_resume_line(folder)}")
        run.record.finish("KILLED")
        raise
    except Exception:
        run.record.finish("FAILED")
        if any(folder.checkpoints.glob("*.pt")):
            _close(folder, "FAILED")
            note(f"the checkpoints are in {folder.checkpoints}; to go on once it is mended: {_resume_line(folder)}")
        else:
            shutil.rmtree(folder.path)
        raise
    finally:
        for samples in run.data.values():
            if samples.left_out:
                note(samples.summary())
    where = run.record.finish("FINISHED")
    _close(folder, "FINISHED")
    (folder.checkpoints / "state.pt").unlink(missing_ok=True)
    return Result(folder.path, dict(published.metrics), published.files, published.step, tuple(run.stages), where)


def _close(folder: RunFolder, status: str) -> None:
    """Write the status and the report; neither may hide how the run ended."""
    try:
        folder.write_status(status)
        write_report(folder.path)
    except RestoreHubError as error:
        note(f"the report is not written: {error}")


def _resume_line(folder: RunFolder) -> str:
    return (
        f"restore-hub run {shlex.quote(str(folder.path / 'spec.json'))} --out {shlex.quote(str(folder.path))} --resume"
    )


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except Exception as error:  # torch raises RuntimeError, AssertionError or its own, by backend
        reason = str(error).splitlines()[0]
        raise TrainingError(
            f"the device {name!r} cannot be used: {reason}; give cpu, or cuda on a machine with one"
        ) from None
    return device


def _samples(plan: Plan, name: str, dataset: Dataset, record: Record) -> Samples:
    """Return the samples of a split, which say and record what they leave out."""

    def tell(index: int, reason: str) -> None:
        note(f"left out of {name!r}: {reason}")
        record.left_out(name, dataset.files(index), reason)

    return Samples(dataset, name, plan.spec.data[name].strict, tell)


def _introduce(data: Mapping[str, Samples], folder: RunFolder) -> None:
    """Write `data.json`, the splits with their sizes and notes, and print the notes."""
    datasets = {name: samples.dataset for name, samples in data.items()}
    for line in notes_of(datasets):
        note(line)
    facts = {
        name: {"samples": len(dataset), "notes": list(getattr(dataset, "notes", ()))}
        for name, dataset in datasets.items()
    }
    folder.write_json("data.json", facts)


def _make_tracker(plan: Plan, folder: RunFolder) -> Any:
    if plan.tracker is None:
        return None
    # Runs beside each other share one store, so that they can be compared.
    return plan.tracker.target(folder=folder.path.parent, **plan.tracker.options)
