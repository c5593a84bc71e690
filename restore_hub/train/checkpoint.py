"""The whole state of a run in one file, from which a stopped run resumes to the same bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from restore_hub.errors import TrainingError, reason_of
from restore_hub.train.run_state import Position, Run, StageResult

VERSION = 3
NAME = "state"
FIXED = "the hash of the weights that don't train"


def save_state(run: Run, position: Position) -> None:
    """Write everything the rest of the run depends on to `checkpoints/state.pt`, whole or not at all.

    Batches are a function of seed, level and step, so the position stands for the samplers. All processes of a run call
    this together; the first one writes.

    Raises:
        TrainingError: the file can't be written, or the processes differ; an earlier file is left as it was.
    """
    run.ranks.check_same(run.blocks.state_dict())
    data = run.trainable.data
    gathered = run.ranks.gathered((_random(run.device), {name: samples.left_out for name, samples in data.items()}))
    if not run.ranks.first:
        return
    for _, left_out in gathered:
        for name, reasons in left_out.items():
            for index, reason in reasons.items():
                data[name].leave_out(index, reason)
    state = {
        "version": VERSION,
        "machine": _conditions(run),
        "position": {name: getattr(position, name) for name in Position.__dataclass_fields__},
        "step": run.step,
        "best": run.best,
        "stale": run.stale,
        "stages": [asdict(stage) for stage in run.stages],
        "blocks": {name: block.state_dict() for name, block in run.blocks.items()},
        "random": [random for random, _ in gathered],
        "journals": run.recorder.folder.journals(),
        "left_out": {name: dict(samples.left_out) for name, samples in data.items()},
    }
    run.recorder.folder.save(NAME, state)


def load_state(run: Run, *, inexact: bool = False) -> Position:
    """Put a run back to where `save_state` left it; without such a file it starts at its beginning.

    Values recorded after that are cut off, because they come again.

    Args:
        run: made from the same spec.
        inexact: resume even though threads, torch, the machine, the number of processes or weights that don't train
            differ; then the bits differ too.

    Raises:
        TrainingError: a damaged file or one of another version, or conditions that differ.
    """
    folder = run.recorder.folder
    path = folder.checkpoints / f"{NAME}.pt"
    if not path.exists():
        folder.rewind({})
        return Position()
    try:
        # Plain containers and tensors only: a checkpoint runs no code.
        state = torch.load(path, map_location=run.device, weights_only=True)
        version = state["version"]
    except Exception as error:  # torch.load raises nearly everything
        raise TrainingError("train.state-unreadable", path, cause=reason_of(error)) from error
    if version != VERSION:
        raise TrainingError("train.state-version", path, found=version, known=VERSION)
    if not inexact:
        _check_same_conditions(path, state["machine"], _conditions(run))
    for name, weights in state["blocks"].items():
        run.blocks[name].load_state_dict(weights)
    run.step, run.best, run.stale = state["step"], state["best"], state["stale"]
    run.stages[:] = [StageResult(**stage) for stage in state["stages"]]
    for name, reasons in state["left_out"].items():
        run.trainable.data[name].left_out.update(reasons)
    folder.rewind(state["journals"])
    if run.ranks.rank < len(state["random"]):  # further processes keep their own
        _set_random(run.device, state["random"][run.ranks.rank])
    return Position(**state["position"])


def _conditions(run: Run) -> dict[str, Any]:
    fixed = {FIXED: run.trainable.fingerprint} if run.trainable.fingerprint else {}
    return {**machine(run.device), "processes": run.ranks.size, **fixed}


def machine(device: torch.device) -> dict[str, Any]:
    """Return what the bits of a run depend on besides its spec."""
    return {
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def _random(device: torch.device) -> list[torch.Tensor]:
    """Return the states of torch's generators that this process draws from."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _set_random(device: torch.device, states: Sequence[torch.Tensor]) -> None:
    torch.set_rng_state(states[0].cpu())
    if device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1].cpu(), device)


def _check_same_conditions(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise TrainingError if a run would not resume to the same bits."""
    differing = {name: value for name, value in now.items() if before.get(name) != value}
    changes = "; ".join(f"{name} was {before.get(name)} and is {value}" for name, value in differing.items())
    if FIXED in differing:
        raise TrainingError("train.fixed-weights-differ", path, changes=changes)
    if differing:
        raise TrainingError("train.conditions-differ", path, changes=changes)
