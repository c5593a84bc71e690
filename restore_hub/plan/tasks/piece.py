"""A part that a task brings to a spec."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from restore_hub.plan.lookup import Part


@dataclass(frozen=True, slots=True)
class Piece(Part):
    """The network of a task, one of its losses or metrics, or what decodes its outputs.

    Attributes:
        task: the task itself.
        role: the kind of component that this is used as.
        name: of the block, objective or metric, such as `detect.loss`.
        pick: returns this, given the task made.
        outputs: of a network: names of its tensors.
        parameters: of a loss or metric.
        targets: those of the parameters that are targets of the task.
    """

    task: Part
    role: str
    name: str
    pick: Callable[[Any], Any]
    outputs: tuple[str, ...] = ()
    parameters: tuple[inspect.Parameter, ...] = ()
    targets: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, task: Part, role: str, name: str, pick: Callable[[Any], Any], inputs: Mapping[str, str], **more: Any
    ) -> Piece:
        """Return a piece of a task, written where the task is."""
        own = {each.name: getattr(task, each.name) for each in fields(Part)}
        return cls(**{**own, "inputs": inputs}, task=task, role=role, name=name, pick=pick, **more)

    @property
    def kind(self) -> str:
        """What it's used as."""
        return self.role

    def tensors(self) -> list[inspect.Parameter]:
        """Return the parameters that name its tensors."""
        return list(self.parameters)

    def make(self, **injected: Any) -> Any:
        """Make the task, and take this of it.

        Raises:
            SpecError: either fails, or lacks something that its contract promises.
        """
        task = self.task.make(**injected)
        return self.construct(lambda: self.pick(task))

    def point_at_targets(self, *place: str | int) -> None:
        """Let errors about the targets that this reads, where it's used at `place`, point at those of the task."""
        for target in self.targets:
            self.document.moved[(*place, "inputs", target)] = (*self.task.place, "targets", target)
