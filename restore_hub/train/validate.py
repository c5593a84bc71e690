"""Metrics and pictures on the holdout split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from restore_hub.contracts import Metric
from restore_hub.plan.chain import Chain, Wires
from restore_hub.plan.parts import Part
from restore_hub.spec import DATA
from restore_hub.train.data import Samples

PICTURES_KEPT = 3


@dataclass(frozen=True, slots=True)
class Validation:
    """Means over the pictures that could be read, and the first of them beside their references."""

    means: Mapping[str, float]
    pictures: Mapping[str, NDArray[np.uint8]]


def validate(chain: Chain, metrics: Mapping[str, Part], made: Mapping[str, Metric], holdout: Samples) -> Validation:
    """Run the chain in evaluation mode on whole pictures and measure them.

    Pictures are clipped to [0, 1] and rounded to 8 bits before any metric sees them; nothing is cropped. The
    pictures kept are what the first metric compares, side by side. Samples left out count in no mean.

    Raises:
        DataError: no picture can be read.
    """
    modes = {name: block.training for name, block in chain.blocks.items()}
    chain.eval()
    device = next(chain.parameters()).device
    each: dict[str, list[float]] = {name: [] for name in metrics}
    pictures: dict[str, NDArray[np.uint8]] = {}
    try:
        for index in range(len(holdout)):
            sample = holdout.read(index, None)
            if sample is None:
                continue
            wires: Wires = {DATA + name: torch.from_numpy(array)[None].to(device) for name, array in sample.items()}
            with torch.inference_mode():
                wires = chain(wires)
            for name, part in metrics.items():
                tensors = {port: _rounded(wires[tensor]) for port, tensor in part.inputs.items()}
                each[name].append(float(made[name](**{port: array / 255.0 for port, array in tensors.items()})))
                if len(pictures) < PICTURES_KEPT and name == next(iter(metrics)):
                    pictures[_name(index, holdout.dataset.files(index))] = _side_by_side(tensors.values())
    finally:
        for name, mode in modes.items():
            chain.blocks[name].train(mode)
    if len(holdout.left_out) == len(holdout):
        raise holdout.none_readable()
    means = {name: float(np.mean(values)) for name, values in each.items()}
    return Validation(means, pictures)


def _name(index: int, files: Sequence[Path]) -> str:
    return f"{index}-{files[0].stem}" if files else str(index)


def _side_by_side(arrays: Iterable[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return one picture (H, W, 3) of several; of RAW planes (H, W, 4) both greens become one."""
    shown = [
        a if a.shape[2] == 3 else np.stack([a[..., 0], a[..., 1] // 2 + a[..., 2] // 2, a[..., 3]], 2) for a in arrays
    ]
    return np.hstack(shown)


def better(metric: Any, value: float, best: float | None) -> bool:
    """Say whether a value improves on the best one so far, in the metric's own direction."""
    if best is None:
        return not np.isnan(value)
    return bool(value > best if metric.higher_is_better else value < best)


def _rounded(tensor: torch.Tensor) -> NDArray[np.uint8]:
    array = tensor[0].clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(array)
