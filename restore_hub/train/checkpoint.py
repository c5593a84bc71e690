"""The whole state of a run in one file, so that a run that was stopped goes on to the same bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from restore_hub.errors import TrainingError
from restore_hub.train.run_state import Position, Run, StageResult

VERSION = 2
NAME = "state"
LOSSES = "the hash of the losses' weights"


def save_state(run: Run, position: Position) -> None:
    """Write `checkpoints/state.pt`, whole or not at all: all that the rest of the run depends on.

    Batches are a function of seed, level and step, so that the position stands for the samplers. All processes of a
    run come here together; the first one writes.

    Raises:
        TrainingError: the file cannot be written, or the processes differ; the one before it is left as it was.
    """
    run.ranks.check_same(run.blocks.state_dict())
    met = run.ranks.gathered((_random(run.device), {name: samples.left_out for name, samples in run.data.items()}))
    if not run.ranks.first:
        return
    for _, left_out in met:
        for name, reasons in left_out.items():
            for index, reason in reasons.items():
                run.data[name].leave_out(index, reason)
    state = {
        "version": VERSION,
        "machine": _conditions(run),
        "position": {name: getattr(position, name) for name in Position.__dataclass_fields__},
        "step": run.step,
        "best": run.best,
        "stale": run.stale,
        "stages": [asdict(stage) for stage in run.stages],
        "blocks": {name: block.state_dict() for name, block in run.blocks.items()},
        "random": [random for random, _ in met],
        "journals": run.record.folder.journals(),
        "left_out": {name: dict(samples.left_out) for name, samples in run.data.items()},
    }
    run.record.folder.save(NAME, state)


def load_state(run: Run, *, inexact: bool = False) -> Position:
    """Put a run back to where `save_state` left it; a run without such a file starts at its beginning.

    Values that were recorded after it are cut off, because they come again.

    Args:
        run: made from the same spec.
        inexact: go on although threads, torch, the machine, the number of processes or a loss differ; the bits will
            then differ too.

    Raises:
        TrainingError: a damaged or newer file, or another machine, torch or number of threads.
    """
    folder = run.record.folder
    path = folder.checkpoints / f"{NAME}.pt"
    if not path.exists():
        folder.rewind({})
        return Position()
    try:
        # Plain containers and tensors only: a checkpoint runs no code.
        state = torch.load(path, map_location=run.device, weights_only=True)
        version = state["version"]
    except Exception as error:  # torch.load raises nearly everything
        raise TrainingError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}; begin anew") from error
    if version != VERSION:
        raise TrainingError(f"{path} is of version {version}, this restore_hub reads {VERSION}; begin anew")
    _compare(state["machine"], _conditions(run), inexact)
    for name, weights in state["blocks"].items():
        run.blocks[name].load_state_dict(weights)
    run.step, run.best, run.stale = state["step"], state["best"], state["stale"]
    run.stages[:] = [StageResult(**stage) for stage in state["stages"]]
    for name, reasons in state["left_out"].items():
        run.data[name].left_out.update(reasons)
    folder.rewind(state["journals"])
    if run.ranks.rank < len(state["random"]):  # more processes than before begin with their own
        _set_random(run.device, state["random"][run.ranks.rank])
    return Position(**state["position"])


def _conditions(run: Run) -> dict[str, Any]:
    losses = {LOSSES: run.objectives.fingerprint} if run.objectives.fingerprint else {}
    return {**machine(run.device), "processes": run.ranks.size, **losses}


def machine(device: torch.device) -> dict[str, Any]:
    """Return what the bits of a run depend on beside its spec."""
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


def _compare(then: Mapping[str, Any], now: Mapping[str, Any], inexact: bool) -> None:
    differing = [
        f"{name} was {then.get(name)} and is {value}" for name, value in now.items() if then.get(name) != value
    ]
    if differing and not inexact:
        how = "OMP_NUM_THREADS sets the threads"
        if any(text.startswith(LOSSES) for text in differing):
            how = "with the file that a loss had its weights from"
        raise TrainingError(
            f"{'; '.join(differing)}: the run would not go on to the same bits; run it as before ({how}), or pass "
            "--inexact"
        )
