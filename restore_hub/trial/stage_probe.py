"""The first steps of one stage, in a process of its own: what a step and a whole picture take of time and memory.

The process that asks is `restore_hub.trial.probe_process`. Nothing is written.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from PIL import Image

from restore_hub.errors import DataError, RestoreHubError
from restore_hub.machine import peak_memory
from restore_hub.spec import HOLDOUT
from restore_hub.train.error_place import SMALLER_PICTURES, placed
from restore_hub.train.problems.trainable import Trainable
from restore_hub.train.setup import Setup, set_up
from restore_hub.train.stepper import Stepper

STEPS = 2
MOST_STEPS = 50
SHORT = 1.0  # seconds; what is over sooner is measured again, since two short steps tell little


@dataclass(frozen=True, slots=True)
class Probe:
    """What to measure.

    Attributes:
        spec, overrides, plugins, device: as for `restore_hub.run`.
        index: of the stage.
        label: what errors call it.
        threads: of torch.
        holdout: whether a whole picture is measured too.
    """

    spec: str
    overrides: Sequence[str]
    plugins: Sequence[str]
    device: str
    index: int
    label: str
    threads: int
    holdout: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """What the first steps of a stage took. Times are in seconds, sizes in bytes.

    Attributes:
        evaluations: energy gradients of one outer step.
        step_seconds: median of two steps or more after the first one, which also takes memory and makes the
            optimizers' state.
        data_seconds: of it, waiting for batches.
        losses: what the third step logged under `loss`.
        picture_seconds: reading, restoring and measuring one whole holdout picture, that of the largest files; 0
            where none is measured.
        kept_seconds: making the files of one that is kept to look at.
        pictures: all of the holdout, in pictures of that size.
        memory, peak: most memory of the host held after the steps, and after the picture too.
        device_memory, device_peak: most memory of a CUDA device that torch held, likewise; 0 without one.
        device_total: what the device has.
        weights_bytes, state_bytes: size of a file of weights, and of the state that `--resume` needs.
    """

    evaluations: int
    step_seconds: float
    data_seconds: float
    losses: Mapping[str, float]
    picture_seconds: float
    kept_seconds: float
    pictures: float
    memory: int
    peak: int
    device_memory: int
    device_peak: int
    device_total: int
    weights_bytes: int
    state_bytes: int


def main(request: Mapping[str, Any]) -> None:
    """Measure, and answer on standard output with one line of JSON; all other output goes to standard error."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as answer:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)  # else it comes at the very end, after a traceback
        try:
            answer.write(json.dumps({"measured": asdict(take(Probe(**request)))}))
        except RestoreHubError as error:
            traceback.print_exc()
            answer.write(json.dumps({"error": type(error).__name__, "text": str(error)}))


def take(probe: Probe) -> Measured:
    """Take the steps and measure the picture in this process.

    Raises:
        RestoreHubError: what the spec or its data lack, as `set_up` says it.
        TrainingError: a step or the picture failed; names the stage.
    """
    if torch.get_num_threads() != probe.threads:
        torch.set_num_threads(probe.threads)
    setup = set_up(probe.spec, probe.overrides, [Path(file) for file in probe.plugins], probe.device)
    with placed(probe.label):
        stepper = Stepper(setup, probe.index)
    step_seconds, data_seconds, losses = _step(setup, stepper, probe)
    memory, device_memory = peak_memory(), _device_memory(setup.device)
    picture_seconds, kept_seconds, pictures = 0.0, 0.0, 0.0
    if probe.holdout and setup.trainable.metrics:
        with placed(f"{probe.label}, holdout", SMALLER_PICTURES):
            picture_seconds, kept_seconds, pictures = _measure(setup.trainable)
    peak, device_peak = peak_memory(), _device_memory(setup.device)
    cuda = setup.device.type == "cuda"
    blocks = {name: block.state_dict() for name, block in setup.blocks.items()}
    return Measured(
        evaluations=stepper.evaluations(),
        step_seconds=step_seconds,
        data_seconds=data_seconds,
        losses=losses,
        picture_seconds=picture_seconds,
        kept_seconds=kept_seconds,
        pictures=pictures,
        memory=memory,
        peak=peak,
        device_memory=device_memory,
        device_peak=device_peak,
        device_total=torch.cuda.get_device_properties(setup.device).total_memory if cuda else 0,
        weights_bytes=_saved_bytes(blocks),
        state_bytes=_saved_bytes({"blocks": blocks, "solver": stepper.state_dict()}),
    )


def _step(setup: Setup, stepper: Stepper, probe: Probe) -> tuple[float, float, dict[str, float]]:
    """Take a step that does not count, then two or more for a second; return their medians and the losses after two."""
    length = setup.plan.spec.stages[probe.index].steps
    seconds: list[float] = []
    waited: list[float] = []
    losses: dict[str, float] = {}
    while len(seconds) <= STEPS or (sum(seconds[1:]) < SHORT and len(seconds) <= MOST_STEPS):
        taken, before, begun = len(seconds), stepper.data_seconds, time.perf_counter()
        with placed(f"{probe.label}, step {taken + 1}"):
            values = stepper.step(taken, min(taken / length, 1.0) if length else 0.0)
        seconds.append(time.perf_counter() - begun)
        waited.append(stepper.data_seconds - before)
        if taken == STEPS:
            losses = {name: value for name, value in values.items() if name.startswith("loss")}
    return median(seconds[1:]), median(waited[1:]), losses


def _measure(trainable: Trainable) -> tuple[float, float, float]:
    """Measure the holdout picture of the largest files that can be read.

    Returns the seconds for it, those for keeping it, and how many of its size the holdout is. Without a holdout of
    files, all metrics count as one picture, of which nothing is kept.
    """
    holdout = trainable.data.get(HOLDOUT)
    if holdout is None:
        return _seconds(trainable)[0], 0.0, 1.0
    sizes = [sum(Path(file).stat().st_size for file in holdout.dataset.files(i)) for i in range(len(holdout))]
    for index in sorted(range(len(holdout)), key=lambda i: -sizes[i]):
        try:
            seconds, kept = _seconds(trainable, [index])
        except DataError:
            if index not in holdout.left_out:
                raise
            continue
        if seconds < SHORT:  # without what only the first picture waits for
            seconds, kept = _seconds(trainable, [index])
        readable = [size for i, size in enumerate(sizes) if i not in holdout.left_out]
        return seconds, kept, sum(readable) / sizes[index] if sizes[index] else float(len(readable))
    raise holdout.none_readable()


def _seconds(trainable: Trainable, indices: Sequence[int] | None = None) -> tuple[float, float]:
    begun = time.perf_counter()
    found = trainable.evaluate(indices)
    measured = time.perf_counter()
    for picture in found.pictures.values():
        Image.fromarray(picture).save(io.BytesIO(), "png")
    return measured - begun, time.perf_counter() - measured


def _device_memory(device: torch.device) -> int:
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0


def _saved_bytes(content: Any) -> int:
    file = io.BytesIO()
    torch.save(content, file)
    return file.tell()
