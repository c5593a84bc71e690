"""The check of tasks: a network with its losses, metrics and predictions."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from restore_hub.batch import Value, stacked
from restore_hub.contracts import Port
from restore_hub.evaluate.views import for_metric
from restore_hub.options import tensors_of
from restore_hub.ragged import Ragged
from restore_hub.testing.metrics import check_metric
from restore_hub.testing.networks import check_network
from restore_hub.testing.parts import check_loss
from restore_hub.testing.require import difference_of, made, require

SAMPLES = 3
EXTENT = {"z": 4, "y": 16, "x": 24}


def check_task(target: Any, /, targets: Mapping[str, Value] | None = None, **options: Any) -> None:
    """Check a task: each of its parts by the check of its kind, on targets and what the network makes of noise.

    Its network must be new each time. Losses and metrics must find what they take by name. `decode` must return what
    `predictions` says, and treat each sample of a batch alone.

    Args:
        target: a class (made with `options`) or a task.
        targets: a batch of three samples of 16 x 24 pixels (and 4 slices), for targets that random values aren't, such
            as boxes, whose corners have an order.
        options: options of the class.

    Raises:
        AssertionError: what failed.
    """
    task, name = made(target, options)
    for attribute in ("targets", "network", "losses"):
        require(hasattr(task, attribute), f"{name} has no {attribute}")
    network, again = task.network(), task.network()
    shared = {id(p) for p in network.parameters()} & {id(p) for p in again.parameters()}
    require(network is not again and not shared, f"{name}.network() returns the same weights again; make new ones")
    ports = {**network.inputs, **network.outputs, **task.targets}
    tensors = _tensors(network, task.targets) | dict(targets or {})
    for loss, called in task.losses.items():
        check_loss(called, inputs=_named(f"{name}: the loss {loss!r}", called, tensors))
    predictions: Mapping[str, Port] = getattr(task, "predictions", {})
    if predictions:
        tensors |= _decoded(name, task, {port: tensors[port] for port in network.outputs})
    for metric, called in getattr(task, "metrics", {}).items():
        found = _named(f"{name}: the metric {metric!r}", called, tensors)
        check_metric(called, inputs=_samples(found, {**ports, **predictions}))
    check_network(network)  # the longest


def _tensors(network: Any, targets: Mapping[str, Port]) -> dict[str, Value]:
    """Return a batch of random inputs and targets, and of the outputs."""
    rng = np.random.default_rng(0)
    batch = {name: _batch(port, rng) for name, port in {**network.inputs, **targets}.items()}
    with torch.no_grad():
        result = network.eval()(*(batch[name] for name in network.inputs))
    results = result if isinstance(result, tuple) else (result,)
    return {**batch, **dict(zip(network.outputs, results, strict=True))}


def _batch(port: Port, rng: np.random.Generator) -> Value:
    samples = [torch.from_numpy(np.asarray(port.example(EXTENT, rng))) for _ in range(SAMPLES)]
    return stacked(samples, port)


def _named(name: str, called: Any, tensors: Mapping[str, Value]) -> dict[str, Value]:
    """Return the tensors that a loss or metric is given."""
    parameters = tensors_of(called)
    for parameter in parameters:
        known = parameter.name in tensors or parameter.default is not parameter.empty
        require(known, f"{name} takes {parameter.name!r}, which isn't one of {', '.join(tensors)}")
    return {p.name: tensors[p.name] for p in parameters if p.name in tensors}


def _decoded(name: str, task: Any, outputs: Mapping[str, Value]) -> dict[str, Value]:
    """Return the predictions, compared with what they're declared as, and with those of each sample alone."""
    taken = {key: outputs[key] for key in inspect.signature(task.decode).parameters if key in outputs}
    whole = task.decode(**taken)
    declared = list(task.predictions)
    good = isinstance(whole, Mapping) and set(whole) == set(declared)
    require(good, f"{name}.decode returns {whole!r:.200}, not a mapping with {', '.join(declared)}")
    for index in range(SAMPLES):
        alone = task.decode(**{key: value.split([1] * SAMPLES)[index] for key, value in taken.items()})
        for key, port in task.predictions.items():
            require(
                isinstance(whole[key], Ragged) == port.ragged and len(whole[key]) == SAMPLES,
                f"{name}.decode returns {type(whole[key]).__name__} for {key!r}, which is {port.describe()}",
            )
            sample, own = whole[key][index], alone[key][0]
            wrong = port.wrong(tuple(sample.shape), str(sample.dtype).removeprefix("torch."))
            require(wrong is None, f"{name}.decode: {key!r} is {wrong and wrong[0]}, declared as {wrong and wrong[1]}")
            same = sample.shape == own.shape and difference_of(sample, own) < 1e-4
            require(same, f"{name}.decode: {key!r} of a sample depends on the others in its batch")
    return dict(whole)


def _samples(tensors: Mapping[str, Value], ports: Mapping[str, Port]) -> list[dict[str, Any]]:
    """Return the samples of a batch as a metric sees them."""
    return [
        {name: for_metric(value[index].detach().cpu().numpy(), ports[name]) for name, value in tensors.items()}
        for index in range(SAMPLES)
    ]
