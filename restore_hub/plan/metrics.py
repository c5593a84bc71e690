"""The metrics of a spec, made."""

from __future__ import annotations

from restore_hub.contracts import Metric
from restore_hub.plan.plan import Plan


def make_metrics(plan: Plan) -> dict[str, Metric]:
    """Make every metric, by name.

    Raises:
        SpecError: one refuses an option, or doesn't say whether higher is better.
    """
    made: dict[str, Metric] = {}
    for name, part in plan.metrics.items():
        made[name] = part.make()
        direction = getattr(made[name], "higher_is_better", None)
        if not isinstance(direction, bool):
            raise part.error("spec.metric-direction", component=part.component.name, got=direction)
    return made
