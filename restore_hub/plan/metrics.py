"""The metrics of a spec, made."""

from __future__ import annotations

from restore_hub.contracts import Metric
from restore_hub.errors import OptionError
from restore_hub.plan.plan import Plan


def make_metrics(plan: Plan) -> dict[str, Metric]:
    """Make every metric, by name.

    Raises:
        SpecError: an option that one refuses, or one that does not say its direction; with the place in the file.
    """
    made: dict[str, Metric] = {}
    for position, (name, part) in enumerate(plan.metrics.items()):
        place = ("metrics", position if isinstance(plan.spec.metrics, list) else name)
        try:
            made[name] = part.make()
        except OptionError as error:
            raise plan.document.error(str(error), *place, error.option) from error
        direction = getattr(made[name], "higher_is_better", None)
        if not isinstance(direction, bool):
            raise plan.document.error(
                f"{part.component.name} of {part.component.owner} must say `higher_is_better`, True or False, for the "
                f"best checkpoint; it is {direction!r}",
                *place,
            )
    return made
