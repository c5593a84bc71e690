"""From a spec to a finished run: check, train, track, export."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from restore_hub.errors import ExportError, RestoreHubError, TrainingError
from restore_hub.export.runs import Exported
from restore_hub.plan.plan import Plan
from restore_hub.plan.resolved_spec import resolve
from restore_hub.plan.samples import Samples
from restore_hub.report import write_report
from restore_hub.train.checkpoint import load_state
from restore_hub.train.loop import run_stages
from restore_hub.train.progress import logging_to, note
from restore_hub.train.ranks import Ranks, joined, restarted
from restore_hub.train.recording.environment import environment
from restore_hub.train.recording.find_run import create_run_folder, find_unfinished
from restore_hub.train.recording.folder import OtherFolder, RunFolder, writing
from restore_hub.train.recording.recorder import Recorder
from restore_hub.train.run_state import Position, Run, StageResult
from restore_hub.train.setup import set_up


@dataclass(frozen=True, slots=True)
class Result:
    """What a run leaves behind.

    Attributes:
        folder: the run folder.
        metrics: holdout means of the exported weights.
        exported: the ONNX files.
        step: outer steps after which the exported weights were saved.
        stages: what each stage took and reached.
        where: a line that says where the tracker shows the run; empty without a tracker.
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
        out: folder of this run; must be empty or not exist yet.
        device: a torch device; with several processes `cpu`, or `cuda` for one GPU each.
        resume: resume the run in `out`, or the newest unfinished run in `runs` of the same resolved spec, to the same
            bits as if it had not been stopped; begin a new run if there is none. (Stages limited by minutes take as
            many steps as they can.)
        inexact: resume even though threads, torch, the machine, the number of processes or weights of a loss differ.
        quiet: print nothing while training; `log.txt` in the run folder still has every line.
        verbose: print every value of every step, and how long it waited for its data.

    Raises:
        RestoreHubError: one line that says where, what is wrong and how to mend it.

    Sets torch's random seed, and flushing of denormal numbers, for the whole process.

    Under `torchrun` the processes share each batch. The first one writes and prints, and all return the same result. A
    process that was restarted after a loss resumes.
    """
    with joined(device) as (ranks, own, stop):
        setup = set_up(spec, overrides, plugins, own, ranks)
        plan, resolved = setup.plan, resolve(setup.plan)
        resume = resume or restarted()
        folder, unfinished = _folder(ranks, Path(runs), plan.spec.name, resolved, Path(out) if out else None, resume)
        recorder = Recorder(folder, _make_tracker(plan, folder) if ranks.first else None)
        run = Run(**vars(setup), recorder=recorder, verbose=verbose, stop=stop)
        if not ranks.first:
            return _follow(run, unfinished, inexact)
        for samples in run.trainable.data.values():
            samples.notify = partial(_leave_out, run.recorder, samples)
        listening = run.stop if ranks.size == 1 else nullcontext()  # several processes listen already
        with folder.hold(), listening, logging_to(folder.path / "log.txt", quiet=quiet):
            start = _start(run, unfinished, inexact)
            if resume:
                note(f"resuming {folder.path} at step {run.step}" if unfinished else "nothing to resume; beginning")
            return ranks.of_first(_carry_out(run, resolved, start))


def _folder(
    ranks: Ranks, runs: Path, name: str, resolved: Mapping[str, Any], place: Path | None, resume: bool
) -> tuple[RunFolder, bool]:
    """Return the folder of a run, and whether it holds a run to resume; the first process finds or makes it."""
    path, unfinished = None, False
    if ranks.first:
        found = find_unfinished(runs, name, resolved, place) if resume else None
        path, unfinished = (found or create_run_folder(runs, name, place)).path, found is not None
    path, unfinished = ranks.of_first((path, unfinished))
    assert path is not None
    return (RunFolder if ranks.first else OtherFolder)(path), unfinished


def _start(run: Run, unfinished: bool, inexact: bool) -> Position:
    """Return where a run begins or resumes.

    Raises:
        TrainingError: as `load_state`; or a process doesn't see the first one's checkpoint.
    """
    start = load_state(run, inexact=inexact) if unfinished else Position()
    here, there = (start.stage, start.step), run.ranks.of_first((start.stage, start.step))
    if here != there:
        raise TrainingError("train.folder-not-shared", run.recorder.folder.path)
    return start


def _follow(run: Run, unfinished: bool, inexact: bool) -> Result:
    """Train alongside the first process, printing nothing, and return its result."""
    with logging_to(None, quiet=True):
        run_stages(run, _start(run, unfinished, inexact))
        result: Result | None = run.ranks.of_first(None)
    assert result is not None
    return result


def _carry_out(run: Run, resolved: Mapping[str, Any], start: Position) -> Result:
    """Train, export and close the run; one that fails before its first checkpoint leaves no folder."""
    plan, folder = run.plan, run.recorder.folder
    try:
        facts = {**environment(), "processes": run.ranks.size}
        folder.write_json("spec.json", resolved)
        folder.write_json("environment.json", facts)
        folder.write_status("RUNNING")
        _write_description(run, folder)
        run.recorder.start(plan.spec.name, resolved, {"revision": facts["revision"] or "not a git checkout"})
        run_stages(run, start)
        published = _export(run, resolved)
        for path in published.files:
            run.recorder.artifact(path, model=path == published.files[-1])  # the chain, where one is exported
        if (folder.path / "left_out.jsonl").exists():
            run.recorder.artifact(folder.path / "left_out.jsonl")
    except KeyboardInterrupt:
        _close(folder, "KILLED")
        note(f"stopped at step {run.step}; to resume: {_resume_line(run)}", even_quiet=True)
        run.recorder.finish("KILLED")
        raise
    except Exception:
        run.recorder.finish("FAILED")
        if any(folder.checkpoints.glob("*.pt")):
            _close(folder, "FAILED")
            note(f"the checkpoints are in {folder.checkpoints}; to resume once the cause is fixed: {_resume_line(run)}")
        else:
            shutil.rmtree(folder.path, ignore_errors=True)  # a disk that became read-only keeps it
        raise
    finally:
        for samples in run.trainable.data.values():
            if samples.left_out:
                note(samples.summary())
    where = run.recorder.finish("FINISHED")
    folder.write_status("FINISHED")  # if that fails, the state is still there and the run can resume
    (folder.checkpoints / "state.pt").unlink(missing_ok=True)  # makes room for the report
    _close(folder, "FINISHED")
    return Result(folder.path, dict(published.metrics), published.files, published.step, tuple(run.stages), where)


def _export(run: Run, resolved: Mapping[str, Any]) -> Exported:
    """Export the weights that the spec chooses.

    Raises:
        TrainingError: a file can't be written; the run resumes with its export. ExportError: as `export_checkpoint`.
    """
    folder = run.recorder.folder
    weights = folder.checkpoints / f"{run.plan.spec.export.weights if run.trainable.metrics else 'last'}.pt"
    try:
        return run.trainable.export(weights, folder.export, resolved)
    except ExportError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError):
            raise
        with writing(Path(error.place)):
            raise cause from None


def _close(folder: RunFolder, status: str) -> None:
    """Write the status and the report; an error in either must not hide how the run ended."""
    try:
        folder.write_status(status)
    except RestoreHubError as error:
        note(str(error))
    try:
        write_report(folder.path)
    except RestoreHubError as error:
        note(f"no report was written: {error}")


def _resume_line(run: Run) -> str:
    folder = str(run.recorder.folder.path)
    several = ["torchrun", "--nproc-per-node", str(run.ranks.size), "-m", "restore_hub"]  # on one machine
    line = several if run.ranks.size > 1 else ["restore-hub"]
    line += ["run", f"{folder}/spec.json", "--out", folder, "--resume"]
    line += [part for file in run.plugins for part in ("--plugin", str(file))]
    device = str(run.device) if run.ranks.size == 1 else run.device.type
    line += ["--device", device] if device != "cpu" else []
    return shlex.join(line)


def _leave_out(recorder: Recorder, samples: Samples, index: int, reason: str) -> None:
    note(f"left out of {samples.name!r}: {reason}")
    recorder.left_out(samples.name, samples.dataset.files(index), reason)


def _write_description(run: Run, folder: RunFolder) -> None:
    """Write `data.json`, the splits with their sizes and notes, and print the notes."""
    found = run.trainable.describe()
    for line in found.notes:
        note(line)
    folder.write_json("data.json", found.splits)


def _make_tracker(plan: Plan, folder: RunFolder) -> Any:
    if plan.tracker is None:
        return None
    # Runs in one folder share a store, so they can be compared.
    return plan.tracker.make(folder=folder.path.parent)
