"""What a block reads: tensors by name, and numbers that are written in the spec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import Field

Inputs: TypeAlias = dict[str, str | Annotated[float, Field(allow_inf_nan=False)]]


class ReadsInputs:
    """A model with `inputs`."""

    if TYPE_CHECKING:
        inputs: Inputs

    @property
    def tensors(self) -> dict[str, str]:
        """The tensor that each input port reads, without the numbers."""
        return {port: source for port, source in self.inputs.items() if isinstance(source, str)}

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers that are written in the spec, by input port."""
        return {port: source for port, source in self.inputs.items() if not isinstance(source, str)}
