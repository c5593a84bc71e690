"""From a spec to a finished run: checked, trained, tracked, exported."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from restore_hub.errors import RestoreHubError, TrainingError
from restore_hub.export.runs import Exported, export_checkpoint
from restore_hub.plan.plan import Plan
from restore_hub.plan.resolved_spec import resolve
from restore_hub.plan.samples import Samples
from restore_hub.plan.splits import notes_of
from restore_hub.plan.weights import load_checkpoint
from restore_hub.report import write_report
from restore_hub.train.checkpoint import load_state
from restore_hub.train.loop import run_stages
from restore_hub.train.progress import logging_to, note
from restore_hub.train.ranks import Ranks, joined, restarted
from restore_hub.train.recording.folder import OtherFolder, RunFolder, create_run_folder, environment, find_unfinished
from restore_hub.train.recording.recorder import Record
from restore_hub.train.run_state import Position, Run, StageResult
from restore_hub.train.setup import set_up


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
    verbose: bool = False,
) -> Result:
    """Run a pipeline spec.

    Args:
        spec: path of the YAML file, or name of a shipped pipeline; relative data paths start at the current folder.
        overrides: `key.path=value`, as `--set` on the command line.
        plugins: unpackaged plugin files.
        runs: folder that gets a new folder for this run, unless `out` names one.
        out: folder of this run; must not exist, or be empty.
        device: a torch device; with several processes `cpu` or `cuda`, which is one each.
        resume: go on with the run in `out`, or with the newest unfinished one in `runs` of the same resolved spec, to
            the same bits as if it had not been stopped; begin where there is none. (Stages limited by minutes take as
            many steps as they can.)
        inexact: resume although threads, torch, the machine, the number of processes or weights of a loss differ.
        quiet: print nothing while training; `log.txt` in the run folder has every line all the same.
        verbose: say every value of every step, and how long it waited for its data.

    Raises:
        RestoreHubError: one line that says what, where and how to mend it.

    Sets torch's random seed, and flushing of denormal numbers, for the whole process.

    Under `torchrun` the processes share each batch, and the first one writes and speaks; all return the same. One that
    was started again after a loss resumes.
    """
    with joined(device) as (ranks, own, stop):
        setup = set_up(spec, overrides, plugins, own, ranks)
        plan, resolved = setup.plan, resolve(setup.plan)
        resume = resume or restarted()
        folder, unfinished = _folder(ranks, Path(runs), plan.spec.name, resolved, Path(out) if out else None, resume)
        record = Record(folder, _make_tracker(plan, folder) if ranks.first else None)
        run = Run(**vars(setup), record=record, verbose=verbose, stop=stop)
        if not ranks.first:
            return _follow(run, unfinished, inexact)
        for samples in run.data.values():
            samples.notify = partial(_left_out, run.record, samples)
        listening = run.stop if ranks.size == 1 else nullcontext()  # several listen from the beginning
        with folder.hold(), listening, logging_to(folder.path / "log.txt", quiet=quiet):
            start = _start(run, unfinished, inexact)
            if resume:
                begins = (
                    f"going on with {folder.path} at step {run.step}" if unfinished else "nothing to resume; beginning"
                )
                note(begins)
            return ranks.of_first(_carry_out(run, resolved, start))


def _folder(
    ranks: Ranks, runs: Path, name: str, resolved: Mapping[str, Any], place: Path | None, resume: bool
) -> tuple[RunFolder, bool]:
    """Return the folder of a run, and whether it holds one to go on with; the first process finds or makes it."""
    path, unfinished = None, False
    if ranks.first:
        found = find_unfinished(runs, name, resolved, place) if resume else None
        path, unfinished = (found or create_run_folder(runs, name, place)).path, found is not None
    path, unfinished = ranks.of_first((path, unfinished))
    assert path is not None
    return (RunFolder if ranks.first else OtherFolder)(path), unfinished


def _start(run: Run, unfinished: bool, inexact: bool) -> Position:
    """Return where a run goes on.

    Raises:
        TrainingError: as `load_state`; a process that does not see the first one's checkpoint.
    """
    start = load_state(run, inexact=inexact) if unfinished else Position()
    here, there = (start.stage, start.step), run.ranks.of_first((start.stage, start.step))
    if here != there:
        raise TrainingError(f"{run.record.folder.path} is not the same for all processes; put it on a disk they share")
    return start


def _follow(run: Run, unfinished: bool, inexact: bool) -> Result:
    """Train beside the first process, without a word, and return what that returns."""
    with logging_to(None, quiet=True):
        run_stages(run, _start(run, unfinished, inexact))
        result: Result | None = run.ranks.of_first(None)
    assert result is not None
    return result


def _carry_out(run: Run, resolved: Mapping[str, Any], start: Position) -> Result:
    """Train, export and close the record; a run that fails before its first checkpoint leaves no folder."""
    plan, folder = run.plan, run.record.folder
    try:
        facts = {**environment(), "processes": run.ranks.size}
        folder.write_json("spec.json", resolved)
        folder.write_json("environment.json", facts)
        folder.write_status("RUNNING")
        _introduce(run, folder)
        run.record.start(plan.spec.name, resolved, {"revision": facts["revision"] or "not a git checkout"})
        run_stages(run, start)
        weights = folder.checkpoints / f"{plan.spec.export.weights if run.metrics else 'last'}.pt"
        published = _publish(run, weights, resolved)
        for path in published.files:
            run.record.artifact(path, model=path == published.files[-1])  # the chain, where one is exported
        if (folder.path / "left_out.jsonl").exists():
            run.record.artifact(folder.path / "left_out.jsonl")
    except KeyboardInterrupt:
        _close(folder, "KILLED")
        note(f"stopped at step {run.step}; to go on: {_resume_line(run)}", even_quiet=True)
        run.record.finish("KILLED")
        raise
    except Exception:
        run.record.finish("FAILED")
        if any(folder.checkpoints.glob("*.pt")):
            _close(folder, "FAILED")
            note(
                f"the checkpoints are in {folder.checkpoints}; to go on where it stopped, with the same spec, once the "
                f"cause is mended: {_resume_line(run)}"
            )
        else:
            shutil.rmtree(folder.path, ignore_errors=True)  # a disk that became read-only keeps it
        raise
    finally:
        for samples in run.data.values():
            if samples.left_out:
                note(samples.summary())
    where = run.record.finish("FINISHED")
    folder.write_status("FINISHED")  # where that fails, the state is left, and the run can be gone on with
    (folder.checkpoints / "state.pt").unlink(missing_ok=True)  # makes room for the report
    _close(folder, "FINISHED")
    return Result(folder.path, dict(published.metrics), published.files, published.step, tuple(run.stages), where)


def _close(folder: RunFolder, status: str) -> None:
    """Write the status and the report; neither may hide how the run ended."""
    try:
        folder.write_status(status)
    except RestoreHubError as error:
        note(str(error))
    try:
        write_report(folder.path)
    except RestoreHubError as error:
        note(f"the report is not written: {error}")


def _resume_line(run: Run) -> str:
    folder = str(run.record.folder.path)
    several = ["torchrun", "--nproc-per-node", str(run.ranks.size), "-m", "restore_hub"]  # on one machine
    line = several if run.ranks.size > 1 else ["restore-hub"]
    line += ["run", f"{folder}/spec.json", "--out", folder, "--resume"]
    line += [part for file in run.plugins for part in ("--plugin", str(file))]
    device = str(run.device) if run.ranks.size == 1 else run.device.type
    line += ["--device", device] if device != "cpu" else []
    return shlex.join(line)


def _left_out(record: Record, samples: Samples, index: int, reason: str) -> None:
    note(f"left out of {samples.name!r}: {reason}")
    record.left_out(samples.name, samples.dataset.files(index), reason)


def _publish(run: Run, weights: Path, resolved: Mapping[str, Any]) -> Exported:
    """Export a chain; of a problem there is nothing to export, and the checkpoint alone says what it reached."""
    if run.chain is not None:
        return export_checkpoint(run.plan, run.chain, weights, run.record.folder.export, resolved)
    about = load_checkpoint(run.blocks, weights)
    return Exported((), about["step"], about["holdout"])


def _introduce(run: Run, folder: RunFolder) -> None:
    """Write `data.json`, the splits with their sizes and notes, and print the notes."""
    if run.problem is not None:
        notes = list(getattr(run.problem, "notes", ()))
        for line in notes:
            note(line)
        sizes = run.problem.splits.items()
        folder.write_json("data.json", {name: {"samples": size, "notes": notes} for name, size in sizes})
        return
    datasets = {name: samples.dataset for name, samples in run.data.items()}
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
