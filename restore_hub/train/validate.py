"""Metrics and pictures on the holdout split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from restore_hub.contracts import Metric
from restore_hub.errors import RestoreHubError, TrainingError, lacks_memory
from restore_hub.plan.chain import Chain, Wires
from restore_hub.plan.lookup import Part
from restore_hub.plan.samples import Samples
from restore_hub.spec import DATA, HOLDOUT
from restore_hub.train.setup import Setup

PICTURES_KEPT = 3
ROLES = {"prediction": "output", "target": "reference"}  # what a metric's argument is called among pictures


@dataclass(frozen=True, slots=True)
class Validation:
    """Means over the pictures that could be read, each one's values, and the first of them.

    Attributes:
        each: metrics of each picture that was read, by `<index>-<stem>`.
        pictures: (H, W, 3) by `<index>-<stem>-<role>`: `input` is the first data tensor that the chain reads,
            `output` and `reference` are what the first metric compares. Packed RAW planes are shown as R, mean G, B
            with sRGB's curve, twice as large.
    """

    means: Mapping[str, float]
    each: Mapping[str, Mapping[str, float]]
    pictures: Mapping[str, NDArray[np.uint8]]


def measure(setup: Setup) -> Validation:
    """Measure what a spec asks for: the chain on the holdout split, or the problem's own metrics.

    Raises:
        DataError: no picture can be read. TrainingError: the problem returns no number for a metric.
    """
    if setup.problem is None:
        assert setup.chain is not None
        made = {name: metric for name, metric in setup.metrics.items() if callable(metric)}
        return validate(setup.chain, setup.plan.metrics, made, setup.data[HOLDOUT])
    modes = {name: block.training for name, block in setup.blocks.items()}
    setup.blocks.eval()
    try:
        with torch.no_grad():
            found = setup.problem.measure()
    finally:
        for name, mode in modes.items():
            setup.blocks[name].train(mode)
    missing = [name for name in setup.metrics if name not in found]
    if missing:
        raise TrainingError(f"the problem returned no value of its metric {missing[0]!r}")
    return Validation({name: float(found[name]) for name in setup.metrics}, {}, {})


def validate(chain: Chain, metrics: Mapping[str, Part], made: Mapping[str, Metric], holdout: Samples) -> Validation:
    """Run the chain in evaluation mode on whole pictures and measure them.

    Pictures are clipped to [0, 1] and rounded to 8 bits before any metric sees them; nothing is cropped. Samples
    left out count in no mean.

    Raises:
        DataError: no picture can be read. TrainingError: a metric raises, or returns no number.
    """
    modes = {name: block.training for name, block in chain.blocks.items()}
    chain.eval()
    device = next(chain.parameters()).device
    each: dict[str, dict[str, float]] = {}
    pictures: dict[str, NDArray[np.uint8]] = {}
    shown, left = _shown(chain, next(iter(metrics.values()), None)), PICTURES_KEPT
    try:
        for index in range(len(holdout)):
            sample = holdout.read(index, None)
            if sample is None:
                continue
            wires: Wires = {DATA + name: torch.from_numpy(array)[None].to(device) for name, array in sample.items()}
            with torch.inference_mode():
                wires = chain(wires)
            name = _name(index, holdout.dataset.files(index))
            each[name] = {metric: _value(metric, made[metric], part, wires) for metric, part in metrics.items()}
            if left:
                left -= 1
                pictures.update({f"{name}-{role}": _picture(wires[tensor]) for role, tensor in shown.items()})
    finally:
        for name, mode in modes.items():
            chain.blocks[name].train(mode)
    if len(holdout.left_out) == len(holdout):
        raise holdout.none_readable()
    means = {metric: float(np.mean([values[metric] for values in each.values()])) for metric in metrics}
    return Validation(means, each, pictures)


def _value(name: str, metric: Metric, part: Part, wires: Wires) -> float:
    pictures = {port: _rounded(wires[tensor]) / 255.0 for port, tensor in part.inputs.items()}
    try:
        return float(metric(**pictures))
    except Exception as error:
        if isinstance(error, RestoreHubError) or lacks_memory(error):
            raise
        raise TrainingError(f"the metric {name!r} raised {type(error).__name__}: {error}") from error


def _name(index: int, files: Sequence[Path]) -> str:
    return f"{index}-{files[0].stem}" if files else str(index)


def _shown(chain: Chain, metric: Part | None) -> dict[str, str]:
    """Return the tensors kept as pictures, by role."""
    read = (tensor for block in chain.graph.order for tensor in chain.inputs_of(block).values())
    inputs = [tensor for tensor in read if tensor.startswith(DATA) and chain.ports[tensor].channels in (3, 4)]
    compared = {ROLES.get(port, port): tensor for port, tensor in (metric.inputs if metric else {}).items()}
    return {"input": inputs[0], **compared} if inputs else compared


def _picture(tensor: torch.Tensor) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) of the first of a batch; RAW planes (R, Gr, Gb, B) are light, pictures are sRGB."""
    if tensor.shape[1] == 3:
        return _rounded(tensor)
    red, green, other, blue = tensor[0].float().clamp(0, 1)
    light = torch.stack([red, (green + other) / 2, blue])
    curve = torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp(min=1e-6) ** (1 / 2.4) - 0.055)
    return _rounded(curve[None]).repeat(2, axis=0).repeat(2, axis=1)


def better(metric: Any, value: float, best: float | None) -> bool:
    """Say whether a value improves on the best one so far, in the metric's own direction."""
    if best is None:
        return not np.isnan(value)
    return bool(value > best if metric.higher_is_better else value < best)


def _rounded(tensor: torch.Tensor) -> NDArray[np.uint8]:
    array = tensor[0].clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(array)
