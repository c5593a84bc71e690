"""The metrics of a spec, made."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from restore_hub.contracts import Metric, SampleMetric
from restore_hub.errors import reason_of
from restore_hub.plan.lookup import Part

if TYPE_CHECKING:
    from restore_hub.plan.plan import Plan


@dataclass(frozen=True, slots=True)
class WiredMetric:
    """A metric as it was made, and the tensor that each of its arguments reads."""

    metric: Metric | SampleMetric
    inputs: Mapping[str, str]


def make_metrics(plan: Plan) -> dict[str, WiredMetric]:
    """Make every metric, by name.

    Raises:
        SpecError: one refuses an option, doesn't say whether higher is better, lacks `update` or `compute`, or can't be
            copied.
    """
    return {name: wired(part) for name, part in plan.metrics.items()}


def wired(part: Part) -> WiredMetric:
    """Make a metric.

    Raises:
        SpecError: as `make_metrics`.
    """
    metric = part.make()
    direction = getattr(metric, "higher_is_better", None)
    if not isinstance(direction, bool):
        raise part.error("spec.metric-direction", component=part.component.name, got=direction)
    for one, other in (("update", "compute"), ("compute", "update")):
        if not hasattr(metric, one) and (hasattr(metric, other) or not callable(metric)):
            named = {"component": part.component.name, "owner": part.component.owner}
            raise part.error("spec.promise-missing", "metric", attribute=one, contract="Metric", **named)
    try:
        copy.deepcopy(metric)  # as each evaluation does, the first of them perhaps hours from now
    except Exception as error:
        raise part.error("spec.metric-not-copied", component=part.component.name, cause=reason_of(error)) from error
    return WiredMetric(metric, part.inputs)
