"""The stage loop: steps until the stage ends, values to the record, the holdout measured now and then."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Any

from restore_hub.spec import HOLDOUT
from restore_hub.train.checkpoint import save_state
from restore_hub.train.progress import Progress, note
from restore_hub.train.run_state import Position, Run, StageResult
from restore_hub.train.stepper import SMALLER_PICTURES, Stepper, named
from restore_hub.train.validate import better, measure


def run_stages(run: Run, start: Position) -> None:
    """Run the stages that are left, from a position on.

    Raises:
        TrainingError: as `run_stage`; what a solver of any stage refuses, or its first batch lacks, before the first
            step of all.
        KeyboardInterrupt: somebody asked to stop; the state is saved.
    """
    left = range(start.stage, len(run.plan.spec.stages))
    for index in left:
        with named(_label(run, index)):
            Stepper(run, index).look()
    for index in left:
        run_stage(run, index, start if index == start.stage else Position(index))
        # Before the state: a run that ends between the two must not take them for written.
        run.record.folder.write_json("stages.json", [asdict(stage) for stage in run.stages])
        save_state(run, Position(index + 1))


def run_stage(run: Run, index: int, start: Position) -> None:
    """Run one stage to its end and validate.

    Raises:
        KeyboardInterrupt: somebody asked to stop.
        TrainingError: a loss or gradient that is not finite, or that is missing; names stage, step and tensor.
            The last checkpoint is left as it was.
    """
    stage, label = run.plan.spec.stages[index], _label(run, index)
    stepper = Stepper(run, index, start.solver)
    begun, step, saved = time.monotonic() - start.seconds, start.step, time.monotonic()
    run.stale = run.stale if step else 0
    total, unit = (stage.minutes * 60.0, "s") if stage.minutes else (float(stage.steps or 0), "step")
    done = start.seconds if stage.minutes else float(step)
    with Progress(label, total, unit, done) as progress:
        while done < total:
            waited = stepper.data_seconds
            with named(f"{label}, step {step + 1}"):
                values = stepper.step(step, min(done / total, 1.0))
            if run.verbose:
                said = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
                note(f"{label}: step {step + 1}  {said}  (data {stepper.data_seconds - waited:.3f} s)")
            step += 1
            run.step += 1
            run.record.values(run.step, values)
            done = run.ranks.of_first(time.monotonic() - begun) if stage.minutes else float(step)
            progress.update(done, {name: value for name, value in values.items() if name.startswith("loss")})
            every = run.plan.spec.validate_every
            if every and step % every == 0 and done < total:
                best = run.best
                metrics = _measure(run, label)
                if run.best != best:
                    saved = -math.inf  # the state goes with the best weights
                if stage.patience and run.stale >= stage.patience:
                    note(f"{label}: ends at step {step}, since {run.stale} measurements brought nothing better")
                    seconds = time.monotonic() - begun
                    break
            due = time.monotonic() - saved >= run.plan.spec.checkpoint_seconds
            stop, due = run.ranks.agree(run.stop.asked, due)
            if stop or due:
                save_state(run, Position(index, step, time.monotonic() - begun, stepper.state_dict()))
                saved = time.monotonic()
            if stop:
                run.record.folder.save_weights("last", run.blocks, {"step": run.step, "holdout": {}})
                raise KeyboardInterrupt
        else:
            seconds = time.monotonic() - begun
            metrics = _measure(run, label)
        run.record.folder.save_weights(f"stage-{index + 1}", run.blocks, {"step": run.step, "holdout": metrics})
        run.stages.append(StageResult(stage.solver, step, seconds, step * stepper.evaluations(), metrics))


def _label(run: Run, index: int) -> str:
    return f"stage {index + 1}/{len(run.plan.spec.stages)} {run.plan.spec.stages[index].solver}"


def _measure(run: Run, label: str) -> dict[str, float]:
    """Measure the holdout split, keep the weights, and the best ones by the first metric; return the means.

    Of several processes the first does, and the others learn what it found.
    """
    means = _measure_here(run, label) if run.ranks.first else {}
    means, run.best, run.stale = run.ranks.of_first((means, run.best, run.stale))
    return means


def _measure_here(run: Run, label: str) -> dict[str, float]:
    means: dict[str, float] = {}
    if run.metrics:
        with named(f"{label}, holdout", SMALLER_PICTURES):
            found = measure(run)
        means = dict(found.means)
        run.record.values(run.step, {f"holdout/{name}": value for name, value in means.items()})
        if found.each:  # a problem has no pictures
            run.record.holdout(run.step, found.each)
        for name, image in found.pictures.items():
            run.record.picture(name, image, run.step)
        holdout = run.data.get(HOLDOUT, ())
        left_out = len(getattr(holdout, "left_out", ()))
        without = f"  (without {left_out} of {len(holdout)} pictures, left out)" if left_out else ""
        values = "  ".join(f"{name} {value:.4g}" for name, value in means.items())
        note(f"step {run.step}: holdout {values}{without}")
    about: dict[str, Any] = {"step": run.step, "holdout": means}
    run.stale += 1
    first = next(iter(run.metrics), None)
    if first is not None and better(run.metrics[first], means[first], run.best):
        run.best, run.stale = means[first], 0
        run.record.folder.save_weights("best", run.blocks, about)
    run.record.folder.save_weights("last", run.blocks, about)
    return means
