"""Metrics and pictures of a chain on its holdout split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from restore_hub.contracts import Metric
from restore_hub.errors import RestoreHubError, TrainingError, lacks_memory, reason_of
from restore_hub.plan.chain import Chain, Wires
from restore_hub.plan.lookup import Part
from restore_hub.plan.samples import Samples
from restore_hub.spec import DATA
from restore_hub.train.problems.trainable import Evaluation, evaluation_mode

PICTURES_KEPT = 3
ROLES = {"prediction": "output", "target": "reference"}  # pictures are named after the arguments of a metric


def evaluate_chain(
    chain: Chain,
    metrics: Mapping[str, Part],
    made: Mapping[str, Metric],
    holdout: Samples,
    indices: Sequence[int] | None = None,
) -> Evaluation:
    """Run the chain on whole pictures and measure them.

    Pictures are clipped to [0, 1] and rounded to 8 bits before any metric sees them; nothing is cropped. Samples that
    are left out count in no mean.

    Of the first pictures those to look at are returned: `input` is the first data tensor that the chain reads, `output`
    and `reference` are what the first metric compares. Packed RAW planes are shown as R, mean G and B with sRGB's
    curve, at twice their size.

    Args:
        chain: the blocks.
        metrics: what each metric reads.
        made: the metrics themselves.
        holdout: the samples.
        indices: of the samples to use; all by default.

    Raises:
        DataError: no picture can be read. TrainingError: a metric raises, or returns no number.
    """
    device = next(chain.parameters()).device
    each: dict[str, dict[str, float]] = {}
    pictures: dict[str, NDArray[np.uint8]] = {}
    shown, left = _shown(chain, next(iter(metrics.values()), None)), PICTURES_KEPT
    with evaluation_mode(chain.blocks):
        for index in range(len(holdout)) if indices is None else indices:
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
    if not each:
        raise holdout.none_readable()
    means = {metric: float(np.mean([values[metric] for values in each.values()])) for metric in metrics}
    return Evaluation(means, each, pictures)


def _value(name: str, metric: Metric, part: Part, wires: Wires) -> float:
    pictures = {port: _rounded(wires[tensor]) / 255.0 for port, tensor in part.inputs.items()}
    try:
        return float(metric(**pictures))
    except Exception as error:
        if isinstance(error, RestoreHubError) or lacks_memory(error):
            raise
        raise TrainingError("train.metric-failed", f"metric {name!r}", cause=reason_of(error)) from error


def _name(index: int, files: Sequence[Path]) -> str:
    return f"{index}-{files[0].stem}" if files else str(index)


def _shown(chain: Chain, metric: Part | None) -> dict[str, str]:
    """Return which tensors are kept as pictures, by role."""
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


def _rounded(tensor: torch.Tensor) -> NDArray[np.uint8]:
    array = tensor[0].clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(array)
