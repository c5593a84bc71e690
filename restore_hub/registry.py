"""What is registered: an immutable table from (kind, qualified name) to a component and its owner."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from restore_hub.errors import PluginError, UnknownComponentError

KINDS = ("network", "loss", "metric", "dataset", "problem", "solver", "tracker", "reader", "exporter", "command")
RESERVED_NAMESPACE = "std"


@dataclass(frozen=True, slots=True)
class Component:
    """One registered component; its target is imported by `load`, not before.

    Attributes:
        kind: one of `KINDS`.
        name: qualified name, `namespace/name`.
        target: `module:attribute` of the callable that makes it.
        summary: one line for people.
        references: papers and other sources.
        owner: distribution (or file) that registered it, and `version` its version.
    """

    kind: str
    name: str
    target: str
    summary: str
    references: tuple[str, ...]
    owner: str
    version: str

    def load(self) -> Any:
        """Import and return the target.

        Raises:
            PluginError: the module cannot be imported or has no such attribute; carries the original error.
        """
        module, _, attribute = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:
            raise PluginError(
                f"{self.kind} {self.name!r} of {self.owner} cannot be imported from {self.target!r}: "
                f"{type(error).__name__}: {error}"
            ) from error


@dataclass(frozen=True)
class Registry:
    """All components of the plugins that loaded, and why the others did not (`failures`)."""

    components: Mapping[tuple[str, str], Component] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, components: Iterable[Component], failures: Mapping[str, str] | None = None) -> Registry:
        """Freeze components into a registry."""
        table = {(c.kind, c.name): c for c in components}
        return cls(MappingProxyType(table), MappingProxyType(dict(failures or {})))

    def find(self, kind: str, name: str) -> Component:
        """Return the component of a kind by qualified name; a bare name means `std/<name>`.

        Raises:
            UnknownComponentError: no such name; suggests the nearest one, and where the plugin of that
                namespace failed to load, says with which error.
        """
        qualified = name if "/" in name else f"{RESERVED_NAMESPACE}/{name}"
        found = self.components.get((kind, qualified))
        if found is not None:
            return found
        failure = self.failure_of(qualified)
        if failure is not None:
            raise UnknownComponentError(f"{kind} {name!r} needs {failure}")
        known = self.names(kind)
        hint = name_hint(name, known)
        others = [k for k in KINDS if k != kind and (k, qualified) in self.components]
        if others:
            hint = f"; {qualified!r} is a {others[0]}, not a {kind}"
        raise UnknownComponentError(f"unknown {kind} {name!r}{hint}; `restore-hub list {kind}` shows all {len(known)}")

    def failure_of(self, name: str) -> str | None:
        """Say why the plugin that a qualified name needs failed; `None` where it did not. `_` is read as `-`."""
        namespace = name.partition("/")[0].replace("_", "-")
        if namespace not in self.failures:
            return None
        return f"the plugin {namespace!r}, which failed to load: {self.failures[namespace]}"

    def names(self, kind: str | None = None) -> list[str]:
        """Return the sorted qualified names, of one kind or of all."""
        return sorted(name for k, name in self.components if kind in (None, k))

    def of_kind(self, kind: str | None = None) -> list[Component]:
        """Return the components of a kind (or all), sorted by kind and name."""
        return [self.components[key] for key in sorted(self.components) if kind in (None, key[0])]


def name_hint(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the nearest qualified name, or an empty text when none is near.

    The part after the slash decides, since names of one namespace all begin alike.
    """
    parts: dict[str, list[str]] = {}
    for qualified in known:
        parts.setdefault(qualified.partition("/")[2], []).append(qualified)
    near = difflib.get_close_matches(name.rpartition("/")[2], parts, n=1, cutoff=0.6)
    if not near:
        return ""
    best = max(parts[near[0]], key=lambda other: difflib.SequenceMatcher(None, name, other).ratio())
    return f" (did you mean {best!r}?)"
