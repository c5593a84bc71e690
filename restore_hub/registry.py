"""What is registered: an immutable table from (kind, qualified name) to a component and its owner."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from restore_hub.errors import PluginError, RestoreHubError, UnknownComponentError, nearest, reason_of

KINDS = (
    "network",
    "task",
    "loss",
    "metric",
    "dataset",
    "problem",
    "solver",
    "tracker",
    "reader",
    "exporter",
    "command",
)
PLURALS = {kind: f"{kind}es" if kind.endswith("s") else f"{kind}s" for kind in KINDS}
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
        group: of a command: the group it belongs to; `None` for a command at the top.
    """

    kind: str
    name: str
    target: str
    summary: str
    references: tuple[str, ...]
    owner: str
    version: str
    group: str | None = None

    def load(self) -> Any:
        """Import and return the target.

        Raises:
            PluginError: the module can't be imported or has no such attribute; with the original error.
        """
        module, _, attribute = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:
            place = f"{self.kind} {self.name!r}"
            facts = {"target": self.target, "owner": self.owner, "cause": reason_of(error)}
            raise PluginError("plugin.cannot-import", place, **facts) from error


@dataclass(frozen=True)
class Registry:
    """All components of the plugins that loaded, and why the others didn't (`failures`, by namespace)."""

    components: Mapping[tuple[str, str], Component] = field(default_factory=dict)
    failures: Mapping[str, RestoreHubError] = field(default_factory=dict)

    @classmethod
    def of(cls, components: Iterable[Component], failures: Mapping[str, RestoreHubError] | None = None) -> Registry:
        """Freeze components into a registry."""
        table = {(c.kind, c.name): c for c in components}
        return cls(MappingProxyType(table), MappingProxyType(dict(failures or {})))

    def find(self, kind: str, name: str) -> Component:
        """Return the component of a kind by qualified name; a bare name means `std/<name>`.

        Raises:
            UnknownComponentError: no such name, with the nearest one; or the plugin of that namespace failed to load.
        """
        found = self.components.get((kind, qualified(name)))
        if found is not None:
            return found
        self.require_loaded(name)
        others = [k for k in KINDS if k != kind and (k, qualified(name)) in self.components]
        if others:
            raise UnknownComponentError("plugin.other-kind", name=qualified(name), kind=others[0], wanted=kind)
        namespace = qualified(name).partition("/")[0]
        loaded = {known.partition("/")[0] for known in self.names()}
        if namespace not in loaded and not nearest(namespace, loaded):
            raise UnknownComponentError("plugin.not-loaded", kind=kind, name=name, namespace=namespace)
        raise UnknownComponentError(
            "plugin.unknown-component",
            kind=kind,
            name=name,
            count=len(self.names(kind)),
            mend=nearest_component(name, self.names(kind)),
        )

    def find_all(self, name: str) -> list[Component]:
        """Return the components of a name, of every kind, sorted by kind.

        Raises:
            UnknownComponentError: as `find` does.
        """
        found = [component for component in self.of_kind() if component.name == qualified(name)]
        if not found:
            self.require_loaded(name)
            raise UnknownComponentError("plugin.unknown-name", name=name, mend=nearest_component(name, self.names()))
        return found

    def require_loaded(self, name: str) -> None:
        """Refuse a name whose plugin failed to load; `_` in the namespace is read as `-`.

        Raises:
            UnknownComponentError: with the plugin's own error.
        """
        failure = self.failures.get(qualified(name).partition("/")[0].replace("_", "-"))
        if failure is not None:
            raise failure.at(repr(name), UnknownComponentError)

    def names(self, kind: str | None = None) -> list[str]:
        """Return the sorted qualified names, of one kind or of all."""
        return sorted(name for k, name in self.components if kind in (None, k))

    def of_kind(self, kind: str | None = None) -> list[Component]:
        """Return the components of a kind (or all), sorted by kind and name."""
        return [self.components[key] for key in sorted(self.components) if kind in (None, key[0])]


def qualified(name: str) -> str:
    """Return a name with its namespace; a bare name means `std/<name>`."""
    return name if "/" in name else f"{RESERVED_NAMESPACE}/{name}"


def nearest_component(name: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for the nearest qualified name, or an empty text when none is near.

    The part after the slash decides, since names of one namespace all begin alike.
    """
    parts: dict[str, list[str]] = {}
    for other in known:
        parts.setdefault(other.partition("/")[2], []).append(other)
    near = difflib.get_close_matches(name.rpartition("/")[2], parts, n=1, cutoff=0.6)
    if not near:
        return ""
    best = max(parts[near[0]], key=lambda other: difflib.SequenceMatcher(None, name, other).ratio())
    return f"did you mean {best!r}?"
