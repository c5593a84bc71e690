"""Components in a spec: a name with options, also where one is an option of another."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from functools import cache
from types import UnionType
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator
from pydantic_core import PydanticCustomError

from restore_hub.contracts import Dataset, Loss, Metric, Network, Problem, SampleMetric, Solver

# The type hints of options that are components, and their kinds.
KIND_OF: dict[type, str] = {
    Network: "network",
    Loss: "loss",
    Metric: "metric",
    SampleMetric: "metric",
    Dataset: "dataset",
    Problem: "problem",
    Solver: "solver",
}
T = TypeVar("T")


class WithOptions(BaseModel):
    """A component by name, with its options beside the keys that the spec language reserves."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    @property
    def options(self) -> dict[str, Any]:
        """Options of the component: all keys that the language does not reserve."""
        return dict(self.model_extra or {})

    @classmethod
    def reserved_keys(cls) -> tuple[str, ...]:
        """Return the keys that the language reserves here."""
        return tuple(cls.model_fields)


class Nested(WithOptions):
    """A component that is an option of another: `{network: NAME, ...}`, or its name alone.

    There is a subclass for each kind. Its first field has the name of the kind; that of networks has `weights` too.
    """

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        kind = next(iter(cls.model_fields))
        if isinstance(given, str):
            return {kind: given}
        if not (isinstance(given, dict) and isinstance(given.get(kind), str)):
            raise PydanticCustomError("component_type", "a component", {"kind": kind})
        return given

    @property
    def kind(self) -> str:
        """The kind of the component."""
        return next(iter(type(self).model_fields))

    @property
    def component(self) -> str:
        """The name of the component."""
        name: str = getattr(self, self.kind)
        return name

    @property
    def file(self) -> str | None:
        """The file of weights that a network names; an option `weights` of another kind is its own."""
        return getattr(self, "weights") if "weights" in type(self).model_fields else None  # noqa: B009


@cache
def nested_model(kind: str) -> type[Nested]:
    """Return the model of a nested component of a kind."""
    name: Any = (str, Field(description=f"name of the {kind} component"))
    about = f"A {kind} as an option: its name, or its name with options."
    file: Any = (str | None, Field(default=None, description="file of weights to start from, as for a block"))
    fields = {kind: name, "weights": file} if kind == "network" else {kind: name}
    return create_model(f"Nested{kind.capitalize()}", __base__=Nested, __doc__=about, **fields)


def as_written(hint: Any) -> Any:
    """Return a type hint with the models of nested components in place of their contracts, at any depth."""
    if inspect.isclass(hint) and hint in KIND_OF:
        return nested_model(KIND_OF[hint])
    arguments = typing.get_args(hint)
    changed = tuple(as_written(argument) for argument in arguments)
    if changed == arguments:
        return hint
    origin: Any = typing.get_origin(hint)
    return typing.Union[changed] if origin is UnionType else origin[changed]  # noqa: UP007


def swap(value: Any, inner: type[T], change: Callable[[T, tuple[str | int, ...]], Any], *keys: str | int) -> Any:
    """Return an option's value with each `inner` in it replaced by what `change` makes of it and its keys."""
    if isinstance(value, inner):
        return change(value, keys)
    if isinstance(value, dict):
        return {key: swap(item, inner, change, *keys, key) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(swap(item, inner, change, *keys, index) for index, item in enumerate(value))
    return value
