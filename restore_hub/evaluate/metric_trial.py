"""Metrics on examples, to find one that can't take what it's wired to before anything trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.contracts import Port
from restore_hub.errors import RestoreHubError, reason_of
from restore_hub.evaluate.running import begin
from restore_hub.evaluate.views import for_metric
from restore_hub.plan.metrics import WiredMetric
from restore_hub.plan.plan import Plan

EXTENT = {"z": 32, "y": 192, "x": 256}  # some metrics look at large windows


def try_metrics(plan: Plan, metrics: Mapping[str, WiredMetric], ports: Mapping[str, Port]) -> None:
    """Give each metric a sample of what it's wired to.

    Random values in a port's range aren't always possible ones: a box's corners have an order, say. So a metric is
    refused only if it can't take zeros either. It computes nothing, since it may need more samples. A metric that reads
    a tensor whose channels nobody knows isn't tried.

    Args:
        plan: of the spec.
        metrics: its metrics.
        ports: of the tensors that they read.

    Raises:
        SpecError: a metric fails on both, or returns no number.
    """
    for name, wired in metrics.items():
        read = {argument: ports[tensor] for argument, tensor in wired.inputs.items()}
        if any("channel" in port.axes and port.channels is None for port in read.values()):
            continue
        error = _error(wired, read, _random)
        if error is None or _error(wired, read, _zeros) is None:
            continue
        if isinstance(error, RestoreHubError):
            raise plan.metrics[name].located(error) from error
        component, cause = plan.metrics[name].component.name, reason_of(error)
        raise plan.metrics[name].error("spec.metric-fails", component=component, cause=cause) from error


def _error(wired: WiredMetric, ports: Mapping[str, Port], make: Callable[[Port], NDArray[Any]]) -> Exception | None:
    arrays = {argument: for_metric(make(port), port) for argument, port in ports.items()}
    try:
        begin(wired.metric).update(**arrays)
    except Exception as error:
        return error
    return None


def _random(port: Port) -> NDArray[Any]:
    return np.asarray(port.example(EXTENT, np.random.default_rng(0)))


def _zeros(port: Port) -> NDArray[Any]:
    """Return a sample of zeros, or of what is nearest to zero in the port's range."""
    return np.full(port.shape(EXTENT), np.clip(0, port.low, port.high), port.dtype)
