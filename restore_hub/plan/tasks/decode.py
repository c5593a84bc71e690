"""What turns the outputs of a task's network into predictions, as a block of the chain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from restore_hub.batch import Value, wrong
from restore_hub.contracts import Port
from restore_hub.errors import RestoreHubError, TrainingError, lacks_memory, reason_of
from restore_hub.plan.empty import empty


class Decode(nn.Module):
    """A network without weights around a task's `decode`.

    Args:
        decode: the method.
        inputs: the outputs of the task's network that it takes, by parameter.
        outputs: the task's `predictions`.
        place: where the spec names the task.
    """

    size_multiple = 1

    def __init__(
        self,
        decode: Callable[..., Mapping[str, Value]],
        inputs: Mapping[str, Port],
        outputs: Mapping[str, Port],
        place: str,
    ) -> None:
        super().__init__()
        self._decode, self.inputs, self.outputs, self._place = decode, inputs, outputs, place

    def forward(self, *outputs: Value) -> tuple[Value, ...]:
        """Return the predictions. Where there are no values to look at, on the meta device, they have examples' shapes.

        Raises:
            TrainingError: `decode` fails, or doesn't return what `predictions` says.
        """
        if outputs[0].device.type == "meta":
            return self._shapes(outputs)
        made: Any = self._call(dict(zip(self.inputs, outputs, strict=True)))
        if not isinstance(made, Mapping) or set(made) != set(self.outputs):
            got = ", ".join(made) if isinstance(made, Mapping) else type(made).__name__
            raise TrainingError("spec.task-decode", self._place, got=got, wanted=", ".join(self.outputs))
        for name, port in self.outputs.items():
            found = wrong(made[name], port)
            if found:
                facts = {"prediction": name, "got": found[0], "declared": found[1]}
                raise TrainingError("spec.task-prediction", self._place, **facts)
        return tuple(made[name] for name in self.outputs)

    def _call(self, outputs: Mapping[str, Value]) -> Any:
        try:
            return self._decode(**outputs)
        except RestoreHubError as error:
            raise error.at(self._place, TrainingError) from error
        except Exception as error:
            if lacks_memory(error):
                raise
            raise TrainingError("spec.task-decode-fails", self._place, cause=reason_of(error)) from error

    def _shapes(self, outputs: tuple[Value, ...]) -> tuple[Value, ...]:
        extent: dict[str, int] = {}
        for port, value in zip(self.inputs.values(), outputs, strict=True):
            if isinstance(value, Tensor) and len(value.shape) == 1 + len(port.axes):
                extent |= {axis: round(size) for axis, size in port.extent(value.shape[1:]).items()}
        return tuple(empty(port, len(outputs[0]), extent) for port in self.outputs.values())
