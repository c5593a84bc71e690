"""Measures the first steps of one stage: the time and memory that a step and a whole picture take.

`restore_hub.trial.probe_process` calls it in a fresh process. It writes no files.
"""

from __future__ import annotations

import io
import json
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
SHORT = 1.0  # seconds; anything shorter is measured again, since two short steps say little


@dataclass(frozen=True, slots=True)
class Probe:
    """What to measure.

    Attributes:
        spec, overrides, plugins, device: as for `restore_hub.run`.
        index: the stage's, from 0.
        label: the stage's name in errors.
        threads: for torch.
        holdout: whether to measure a whole picture too.
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
class Measurement:
    """What the first steps of a stage took. Times are in seconds, sizes in bytes.

    Attributes:
        evaluations: energy gradients in one outer step.
        step_seconds: median of at least two steps. The first step doesn't count: it also allocates memory and
            creates the optimizers' state.
        data_seconds: the part of `step_seconds` spent waiting for batches.
        losses: the losses that the third step logged.
        picture_seconds: time to read, restore and score one whole holdout picture, the one with the largest files;
            0 if none is measured.
        kept_seconds: time to write a picture that the run keeps for viewing.
        pictures: the size of the holdout, in pictures of that size.
        memory, peak: peak memory of the host after the steps, and after the picture.
        device_memory, device_peak: the same for the memory that torch reserved on a CUDA device; 0 without one.
        device_total: the device's memory.
        weights_bytes, state_bytes: sizes of a weights file, and of the state that `--resume` needs.
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


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `measurement` of a probe, or the `error` and its `traceback`, as plain values."""
    try:
        return {"measurement": asdict(measure_stage(Probe(**request)))}
    except RestoreHubError as error:
        facts = json.loads(json.dumps(error.facts, default=str))
        return {"error": {**error.as_json(), "facts": facts}, "traceback": traceback.format_exc()}


def measure_stage(probe: Probe) -> Measurement:
    """Take the steps and measure the picture in this process.

    Raises:
        RestoreHubError: a mistake in the spec or its data, as from `set_up`.
        TrainingError: a step or the picture failed; the place names the stage.
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
    return Measurement(
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
    """Take one step that doesn't count, then two or more for a second; return their medians, and the third's losses."""
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
    """Measure the holdout picture with the largest readable files.

    Return its seconds, the seconds to keep it, and the size of the holdout in such pictures. Without a holdout split of
    files, all metrics together count as one picture, and the run keeps no file of it.
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
        if seconds < SHORT:  # again, without the start-up costs of the first picture
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
