"""A name and options in a spec to a component that can be made."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn
from torch.nn.parameter import is_lazy

from restore_hub.contracts import INJECTED
from restore_hub.errors import OptionError, PluginError, RestoreHubError, UnknownComponentError, did_you_mean
from restore_hub.options import check_options
from restore_hub.registry import Component, Registry
from restore_hub.spec import Document, Spec
from restore_hub.spec.models import WithOptions

T = TypeVar("T")
NOT_LAZY = "give its layer the number of channels, in place of a lazy one"


@dataclass(frozen=True, slots=True)
class Part:
    """A component with checked options, ready to be made, and the tensors it reads."""

    component: Component
    target: Any
    options: Mapping[str, Any]
    inputs: Mapping[str, str]

    def make(self) -> Any:
        """Construct the component.

        Raises:
            OptionError: it refuses an option, or raises anything else; or has lazy layers, whose sizes are not known.
        """
        try:
            made = self.target(**self.options)
        except RestoreHubError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise OptionError(f"{self.component.name} cannot be made: {type(error).__name__}: {reason}") from error
        lazy = lazy_tensor(made)
        if lazy:
            raise OptionError(f"{self.component.name} cannot be used: its {lazy} has no size yet; {NOT_LAZY}")
        return made


def lazy_tensor(made: Any) -> str:
    """Return the name of a module's first parameter or buffer that waits for a first call; empty without one."""
    if not isinstance(made, nn.Module):
        return ""
    return next((name for name, t in (*made.named_parameters(), *made.named_buffers()) if is_lazy(t)), "")


@dataclass(frozen=True, slots=True)
class Lookup:
    """Turns a name and options at a place of the file into a `Part`."""

    document: Document
    registry: Registry

    def part(self, kind: str, name: str, use: WithOptions, inputs: Mapping[str, str], *place: str | int) -> Part:
        component = self._at(lambda: self.registry.find(kind, name), *place, kind)
        target = self._at(component.load, *place, kind)
        if kind in ("loss", "metric") and not inspect.isclass(target):
            text = f"{component.name} of {component.owner} is no class; write one whose `__call__` takes the tensors"
            raise self.document.error(text, *place, kind)
        try:
            options = check_options(component.name, target, use.options, skip=INJECTED.get(kind, frozenset()))
        except OptionError as error:
            hint = self._without(use, str(error), *place, error.option) if "has no option" in str(error) else ""
            raise self.document.error(f"{error}{hint}", *place, error.option) from None
        return Part(component, target, options, inputs)

    def _without(self, use: WithOptions, error: str, *place: str | int) -> str:
        """Say what to do about an option that a component does not have: write it right, or leave it out."""
        reserved = did_you_mean(str(place[-1]), type(use).model_fields)
        if reserved or "did you mean" in error or place in self.document.overridden:
            return reserved
        return f"; `--set {'.'.join(map(str, place))}=` leaves it out"

    def _at(self, call: Callable[[], T], *place: str | int) -> T:
        try:
            return call()
        except (UnknownComponentError, PluginError) as error:
            raise self.document.error(str(error), *place) from error


def require_plugins(document: Document, spec: Spec, registry: Registry) -> None:
    namespaces = {name.partition("/")[0] for name in registry.names()}
    for index, plugin in enumerate(spec.plugins):
        if plugin in registry.failures:
            raise document.error(f"plugin {plugin!r} failed to load: {registry.failures[plugin]}", "plugins", index)
        if plugin not in namespaces:
            hint = did_you_mean(plugin, namespaces) or "; install it, or pass its file with --plugin"
            raise document.error(f"plugin {plugin!r} is not installed{hint}", "plugins", index)
