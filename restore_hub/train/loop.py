"""The stage loop: steps until the stage ends, values to the recorder, metrics on the holdout now and then."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict

from restore_hub.evaluate.scores import Scores
from restore_hub.spec import HOLDOUT
from restore_hub.train.checkpoint import save_state
from restore_hub.train.cliff import fell
from restore_hub.train.error_place import SMALLER_PICTURES, placed
from restore_hub.train.progress import Progress, note
from restore_hub.train.run_state import Position, Run, StageResult
from restore_hub.train.stepper import Stepper


def run_stages(run: Run, start: Position) -> None:
    """Run the remaining stages, from a position on.

    Raises:
        TrainingError: as `run_stage`. What the solver of any stage refuses, or what its first batch lacks, is raised
            before the first step of all.
        KeyboardInterrupt: the user asked to stop; the state is saved.
    """
    left = range(start.stage, len(run.plan.spec.stages))
    for index in left:
        with placed(_label(run, index)):
            Stepper(run, index).look()
    for index in left:
        run_stage(run, index, start if index == start.stage else Position(index))
        # Before the state: a run that ends between the two must not take them for written.
        run.recorder.folder.write_json("stages.json", [asdict(stage) for stage in run.stages])
        save_state(run, Position(index + 1))


def run_stage(run: Run, index: int, start: Position) -> None:
    """Run one stage to its end and evaluate.

    Raises:
        KeyboardInterrupt: the user asked to stop.
        TrainingError: a loss or gradient that is missing or not finite; names stage, step and tensor. The last
            checkpoint is left as it was.
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
            with placed(f"{label}, step {step + 1}"):
                values = stepper.step(step, min(done / total, 1.0))
            if run.verbose:
                note(f"{label}: step {step + 1}  {_line(values)}  (data {stepper.data_seconds - waited:.3f} s)")
            step += 1
            run.step += 1
            run.recorder.values(run.step, values)
            done = run.ranks.of_first(time.monotonic() - begun) if stage.minutes else float(step)
            progress.update(done, {name: value for name, value in values.items() if name.startswith("loss")})
            every = run.plan.spec.validate_every
            if every and step % every == 0 and done < total:
                best = run.best
                metrics = _evaluate(run, label)
                if run.best != best:
                    saved = -math.inf  # the state goes with the best weights
                if stage.patience and run.stale >= stage.patience:
                    note(f"{label}: ends at step {step}: no improvement in {run.stale} evaluations")
                    seconds = time.monotonic() - begun
                    break
            due = time.monotonic() - saved >= run.plan.spec.checkpoint_seconds
            stop, due = run.ranks.agree(run.stop.asked, due)
            if stop or due:
                save_state(run, Position(index, step, time.monotonic() - begun, stepper.state_dict()))
                saved = time.monotonic()
            if stop:
                run.recorder.folder.save_weights("last", run.blocks, {"step": run.step, "holdout": {}})
                raise KeyboardInterrupt
        else:
            seconds = time.monotonic() - begun
            metrics = _evaluate(run, label)
        run.recorder.folder.save_weights(f"stage-{index + 1}", run.blocks, {"step": run.step, "holdout": metrics})
        run.stages.append(StageResult(stage.solver, step, seconds, step * stepper.evaluations(), metrics))


def _label(run: Run, index: int) -> str:
    return f"stage {index + 1}/{len(run.plan.spec.stages)} {run.plan.spec.stages[index].solver}"


def _line(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def _evaluate(run: Run, label: str) -> dict[str, float]:
    """Compute the metrics, save the weights, and the best ones by the first metric; return the means.

    Of several processes the first does this, and the others learn the result.
    """
    means: dict[str, float] = {}
    if run.ranks.first:
        if run.trainable.metrics:
            with placed(f"{label}, holdout", SMALLER_PICTURES):
                found = run.trainable.evaluate()
            means = dict(found.means)
            _record(run, found)
        _save_weights(run, means)
    means, run.best, run.stale = run.ranks.of_first((means, run.best, run.stale))
    return means


def _record(run: Run, found: Scores) -> None:
    run.recorder.values(run.step, {f"holdout/{name}": value for name, value in found.means.items()})
    if found.each:
        run.recorder.holdout(run.step, found.each)
    for name, image in found.pictures.items():
        run.recorder.picture(name, image, run.step)
    holdout = run.trainable.data.get(HOLDOUT)
    left_out = len(holdout.left_out) if holdout else 0
    without = f"  (without {left_out} of {len(holdout or ())} pictures, left out)" if left_out else ""
    note(f"step {run.step}: holdout {_line(found.means)}{without}")


def _save_weights(run: Run, means: Mapping[str, float]) -> None:
    about = {"step": run.step, "holdout": means}
    run.stale += 1
    first, higher_is_better = next(iter(run.trainable.metrics.items()), (None, True))
    if first is not None and fell(means[first], run.best, higher_is_better):
        note(
            f"the holdout's {first} fell from {run.best:.4g} to {means[first]:.4g}, so training has probably diverged: "
            "`best` still holds the better weights; try a lower `lr`, or `clip`"
        )
    if first is not None and better(means[first], run.best, higher_is_better):
        run.best, run.stale = means[first], 0
        run.recorder.folder.save_weights("best", run.blocks, about)
    run.recorder.folder.save_weights("last", run.blocks, about)


def better(value: float, best: float | None, higher_is_better: bool) -> bool:
    """Return whether a metric improves on the best value so far; NaN never does."""
    if best is None:
        return not math.isnan(value)
    return value > best if higher_is_better else value < best
