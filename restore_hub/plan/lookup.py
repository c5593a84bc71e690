"""A name and options in a spec to a component that can be made."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from restore_hub.contracts import INJECTED
from restore_hub.errors import (
    DataError,
    OptionError,
    PluginError,
    RestoreHubError,
    SpecError,
    UnknownComponentError,
    nearest,
    reason_of,
)
from restore_hub.nested import Nested, WithOptions, swap
from restore_hub.options import check_options, options_of, tensors_of
from restore_hub.plan.modules import lazy_tensor
from restore_hub.plan.promises import check_promises, check_registered
from restore_hub.registry import Component, Registry
from restore_hub.spec import Document, Spec

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A component with checked options, ready to be made.

    Attributes:
        component, target: what was registered, and the class or function itself.
        options: as the spec has them, converted to the target's types; a nested component is a `Part`.
        inputs: the tensor that each input reads.
        document, place: where the spec names it.
        weights: a file that a nested network starts from.
    """

    component: Component
    target: Any
    options: Mapping[str, Any]
    inputs: Mapping[str, str]
    document: Document
    place: Place
    weights: Path | None = field(default=None, kw_only=True)

    def make(self, **injected: Any) -> Any:
        """Construct the component, after those nested in it.

        Args:
            injected: what comes from the run rather than the spec.

        Raises:
            SpecError: the component refuses an option or its data, or raises anything else; it lacks something that
                its contract promises; it has lazy layers, whose sizes aren't known; or a file of weights is missing or
                doesn't fit. At the option where it names one.
        """
        nested: list[tuple[Part, Any]] = []

        def made_of(part: Part, _: object) -> Any:
            nested.append((part, part.make()))
            return nested[-1][1]

        options = swap(dict(self.options), Part, made_of)
        made = self.construct(lambda: self.target(**options, **injected))
        for part, inner in nested:
            check_registered(self, made, part, inner)
        if self.weights is not None:
            weights = importlib.import_module("restore_hub.plan.weights")  # which needs torch, as the network does
            try:
                weights.load_weights(made, str(self.place[-1]), self.weights, alone=True)
            except DataError as error:
                raise self.located(error, "weights") from None
        return made

    def construct(self, maker: Callable[[], Any]) -> Any:
        """Return what a maker of this component makes, checked; see `make`."""
        try:
            made = maker()
        except RestoreHubError as error:
            raise self.located(error) from error
        except Exception as error:
            raise self.error("spec.cannot-make", component=self.component.name, cause=reason_of(error)) from error
        lazy = lazy_tensor(made)
        if lazy:
            raise self.error("spec.lazy-layer", component=self.component.name, tensor=lazy)
        check_promises(self, made)
        return made

    @property
    def kind(self) -> str:
        """The kind of component that this is used as."""
        return self.component.kind

    def tensors(self) -> list[inspect.Parameter]:
        """Return the parameters of a loss or metric that name its tensors."""
        return tensors_of(self.target)

    def parts(self) -> list[Part]:
        """Return this part and all that are nested in it, at any depth."""
        found = [self]
        swap(dict(self.options), Part, lambda part, _: found.extend(part.parts()))
        return found

    def error(self, code: str, *keys: str | int, **facts: Any) -> SpecError:
        """Return the error with a code about this part, or about the value at `keys` in it."""
        return self.document.error(code, *self.place, *keys, **facts)

    def located(self, error: RestoreHubError, *keys: str | int) -> SpecError:
        """Return an error that this part raised, at its place in the spec."""
        return self.document.located(error, *self.place, *keys)


@dataclass(frozen=True, slots=True)
class Lookup:
    """Turns a name and options at a place of the spec into a `Part`."""

    document: Document
    registry: Registry

    def part(self, kind: str, name: str, use: WithOptions, inputs: Mapping[str, str], *place: str | int) -> Part:
        """Find a component and check its options.

        Raises:
            SpecError: an unknown name, a component that can't be imported, or a wrong option.
        """
        try:
            component = self.registry.find(kind, name)
            target = component.load()
        except (UnknownComponentError, PluginError) as error:
            raise self.document.located(error, *place, kind) from error
        if kind in ("loss", "metric") and not inspect.isclass(target):
            facts = {"component": component.name, "owner": component.owner}
            raise self.document.error("spec.not-a-class", *place, kind, **facts)
        skip = INJECTED.get(kind, frozenset())
        try:
            options = check_options(component.name, target, use.options, skip)
        except OptionError as error:
            if error.code in ("option.unknown", "option.unknown-none"):
                known = [option.name for option in options_of(target, skip)]
                raise self._unknown_option(component.name, error.option, known, use, *place) from None
            raise self.document.located(error, *place) from None

        def nested(use: Nested, keys: Place) -> Part:
            part = self.part(use.kind, use.component, use, {}, *place, *keys)
            return part if use.file is None else replace(part, weights=Path(use.file))

        parts = swap(options, Nested, nested)
        return Part(component, target, parts, inputs, self.document, place)

    def refuse_options(self, component: str, use: WithOptions, *place: str | int) -> None:
        """Refuse any option of a component that takes none.

        Raises:
            SpecError: there is one.
        """
        for option in use.options:
            raise self._unknown_option(component, option, [], use, *place)

    def _unknown_option(
        self, component: str, option: str, known: list[str], use: WithOptions, *place: str | int
    ) -> SpecError:
        keys = (*place, option)
        facts: dict[str, Any] = {"component": component, "option": option, "known": ", ".join(known) or "none"}
        facts["mend"] = nearest(option, [*known, *use.reserved_keys()])
        if keys in self.document.overridden:  # whoever has just set it knows how to leave it out
            return self.document.error("spec.unknown-option-set", *keys, **facts)
        return self.document.error("spec.unknown-option", *keys, key=".".join(map(str, keys)), **facts)


def require_plugins(document: Document, spec: Spec, registry: Registry) -> None:
    """Check that the plugins a spec asks for are loaded.

    Raises:
        SpecError: one isn't installed, or failed to load.
    """
    namespaces = {name.partition("/")[0] for name in registry.names()}
    for index, plugin in enumerate(spec.plugins):
        if plugin in registry.failures:
            raise document.located(registry.failures[plugin], "plugins", index)
        if plugin not in namespaces:
            mend = nearest(plugin, namespaces)
            raise document.error("spec.plugin-missing", "plugins", index, plugin=plugin, mend=mend)
