"""Metrics from the command line: by their registered names, with options and tensors as a spec writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from restore_hub.errors import DataError
from restore_hub.plan.checks import check_call
from restore_hub.plan.lookup import Lookup
from restore_hub.plan.metrics import WiredMetric, wired
from restore_hub.registry import Registry
from restore_hub.spec import read_argument
from restore_hub.spec.models import MetricUse

OPTION = "--metrics"
DEFAULT = "psnr, ssim"
PREDICTION = "prediction"  # the tensor that is measured, whatever the candidate calls it


def choose(text: str, target: str, registry: Registry) -> dict[str, WiredMetric]:
    """Make metrics. Their arguments `prediction` and `target` read what is measured and the reference, unless stated.

    Args:
        text: names with commas in between, or what a spec has under `metrics`.
        target: the tensor of the references; empty if there are none.
        registry: what is registered.

    Raises:
        SpecError: an unknown metric or option. DataError: no reference for a metric that needs one.
    """
    argument = read_argument(OPTION, text)
    uses = _by_name(argument.data)
    look, made = Lookup(argument, registry), {}
    for name, use in uses.items():
        part = look.part("metric", use.metric, use, {}, name)
        given = {PREDICTION: PREDICTION, **({"target": target} if target else {})}
        known = {parameter.name: parameter for parameter in part.tensors()}
        inputs = {**{argument: tensor for argument, tensor in given.items() if argument in known}, **use.inputs}
        needs = known.get("target")
        if needs is not None and needs.default is needs.empty and "target" not in inputs:
            raise DataError("evaluate.no-reference", f"{OPTION} {name}")
        part = replace(part, inputs=inputs)
        check_call(part)
        made[name] = wired(part)
    return made


def reading(metrics: Mapping[str, WiredMetric], other: str, tensor: str) -> dict[str, WiredMetric]:
    """Return metrics that read another tensor wherever they read one."""
    return {
        name: WiredMetric(each.metric, {a: tensor if t == other else t for a, t in each.inputs.items()})
        for name, each in metrics.items()
    }


def _by_name(value: Any) -> dict[str, MetricUse]:
    if isinstance(value, str):
        value = [name.strip() for name in value.split(",")]
    if isinstance(value, list):
        value = {name if isinstance(name, str) else str(index): name for index, name in enumerate(value)}
    if not isinstance(value, dict) or not value:
        raise DataError("evaluate.bad-metrics", OPTION)
    uses = {name: {"metric": use} if isinstance(use, str) else use for name, use in value.items()}
    try:
        return {name: MetricUse.model_validate(use) for name, use in uses.items()}
    except ValidationError:
        raise DataError("evaluate.bad-metrics", OPTION) from None
