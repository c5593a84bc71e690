"""Finds and loads plugins: the only file that knows entry points.

Each plugin is loaded into a pluggy manager of its own. Its registrations are committed together or not at all, and a
plugin that fails is reported and leaves the others alone.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pluggy

from restore_hub import hookspecs
from restore_hub.commands import COMMAND_GROUPS, COMMANDS
from restore_hub.errors import PluginError, RestoreHubError, nearest, reason_of
from restore_hub.registry import KINDS, PLURALS, Component, Registry

ENTRY_POINT_GROUP = "restore_hub"
ALLOW_VARIABLE = "RESTORE_HUB_PLUGINS"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_HOOKS = {kind: f"register_{plural}" for kind, plural in PLURALS.items()}


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin as it was found: where it came from, and what it registered or how it failed.

    Attributes:
        namespace: entry-point name, the first half of its components' names.
        origin: distribution name, or path of a `--plugin` file.
        version: distribution version, `0` for a file.
        components: what it registered; empty after a failure.
        error: `None`, or why none of it is registered.
    """

    namespace: str
    origin: str
    version: str
    components: tuple[Component, ...] = ()
    error: RestoreHubError | None = None


@dataclass(frozen=True, slots=True)
class _Source:
    namespace: str
    origin: str
    version: str
    load: Callable[[], Any]

    @property
    def place(self) -> str:
        return f"plugin {self.namespace!r}"


def allowed_namespaces() -> frozenset[str] | None:
    """Return the allow-list in `RESTORE_HUB_PLUGINS`: comma-separated names, `none` for no plugin, unset for all."""
    value = os.environ.get(ALLOW_VARIABLE)
    if value is None:
        return None
    return frozenset(part.strip() for part in value.split(",") if part.strip() not in ("", "none"))


@cache
def load_plugins(files: tuple[Path, ...] = (), allow: frozenset[str] | None = None) -> tuple[Plugin, ...]:
    """Load the plugins installed as entry points and those in `files`, sorted by namespace.

    Args:
        files: unpackaged plugins, single `.py` files; the file's stem is the namespace.
        allow: namespaces of entry points to load; `None` loads all. Files named by hand are always loaded.

    Raises:
        PluginError: `allow` names a plugin that isn't installed.
    """
    entries, extra = list(entry_points(group=ENTRY_POINT_GROUP)), [_from_file(path) for path in dict.fromkeys(files)]
    known = sorted({*(entry.name for entry in entries), *(source.namespace for source in extra)})
    for name in sorted((allow or frozenset()).difference(known)):
        facts = {"name": name, "known": ", ".join(known) or "none", "mend": nearest(name, known)}
        raise PluginError("plugin.unknown-plugin", ALLOW_VARIABLE, **facts)
    sources = [_from_entry_point(entry) for entry in entries if allow is None or entry.name in allow] + extra
    owners = Counter(source.namespace for source in sources)
    plugins = []
    for source in sorted(sources, key=lambda s: (s.namespace, s.origin)):
        if owners[source.namespace] > 1:
            both = " and ".join(sorted(s.origin for s in sources if s.namespace == source.namespace))
            plugins.append(_failed(source, PluginError("plugin.claimed-twice", source.place, owners=both)))
        else:
            plugins.append(_load(source))
    return tuple(plugins)


def registry_of(plugins: Iterable[Plugin]) -> Registry:
    """Return the registry of all plugins that loaded, with the errors of those that did not."""
    plugins = tuple(plugins)
    components = [component for plugin in plugins for component in plugin.components]
    return Registry.of(components, {p.namespace: p.error for p in plugins if p.error is not None})


def default_registry(files: Sequence[Path] = ()) -> Registry:
    """Return the registry of installed plugins under the environment's allow-list, and of plugin files.

    Raises:
        PluginError: one of `files` failed to load.
    """
    plugins = load_plugins(tuple(files), allowed_namespaces())
    named = {str(path) for path in files}
    for plugin in plugins:
        if plugin.error is not None and plugin.origin in named:
            raise plugin.error.at(plugin.origin, PluginError)
    return registry_of(plugins)


def _from_entry_point(entry: EntryPoint) -> _Source:
    name, version = _named(entry.dist) if entry.dist else (entry.value, "0")
    return _Source(entry.name, name, version, entry.load)


@cache
def _named(distribution: Distribution) -> tuple[str, str]:
    """Return name and version; asking for either parses the whole metadata, and plugins share distributions."""
    about = distribution.metadata
    return about["Name"], about["Version"]


def _from_file(path: Path) -> _Source:
    def load() -> Any:
        if not path.is_file():
            raise PluginError("plugin.no-file", path)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise PluginError("plugin.not-python", path)
        if _shadows(path):
            raise PluginError("plugin.shadows", path, module=path.stem)
        module = importlib.util.module_from_spec(spec)
        # Targets name the module by its file stem: `stem:Class` works before and after packaging.
        sys.modules[path.stem] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[path.stem]
            raise
        return module

    return _Source(path.stem.replace("_", "-"), str(path), "0", load)


def _shadows(path: Path) -> bool:
    """Whether the file's stem already names another module, which the file would replace for everybody."""
    known = sys.modules.get(path.stem)
    if known is not None:
        origin = getattr(known, "__file__", None)
    else:
        spec = importlib.util.find_spec(path.stem)
        if spec is None:
            return False
        origin = spec.origin
    return origin is None or Path(origin).resolve() != path.resolve()


def _failed(source: _Source, error: RestoreHubError) -> Plugin:
    return Plugin(source.namespace, source.origin, source.version, error=error)


def _load(source: _Source) -> Plugin:
    """Import one plugin and collect its registrations; whatever it raises becomes its error."""
    try:
        if not _NAME.fullmatch(source.namespace):
            raise PluginError("plugin.bad-namespace", source.origin, name=source.namespace)
        components = _collect(source, source.load())
    except RestoreHubError as error:
        return _failed(source, error)
    except (Exception, SystemExit) as error:  # a script that exits must not end the program that lists it
        return _failed(source, PluginError("plugin.fails", source.place, cause=reason_of(error)))
    return Plugin(source.namespace, source.origin, source.version, components)


def _collect(source: _Source, module: Any) -> tuple[Component, ...]:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    for name in vars(module):
        if name not in _HOOKS.values() and manager.parse_hookimpl_opts(module, name) is not None:
            mend = nearest(name, _HOOKS.values())
            raise PluginError(
                "plugin.unknown-hook", source.place, hook=name, known=", ".join(_HOOKS.values()), mend=mend
            )
    manager.register(module, source.namespace)
    buffer: dict[tuple[str, str], Component] = {}
    for kind in KINDS:
        getattr(manager.hook, _HOOKS[kind])(register=_registrar(kind, source, buffer))
    if not buffer:
        raise PluginError("plugin.registers-nothing", source.place, hooks=", ".join(_HOOKS.values()))
    return tuple(buffer.values())


def _registrar(kind: str, source: _Source, buffer: dict[tuple[str, str], Component]) -> hookspecs.RegisterCommand:
    def register(
        name: str, target: str, *, summary: str = "", references: tuple[str, ...] = (), group: str | None = None
    ) -> None:
        place, named = source.place, {"kind": kind, "name": name}
        if not _NAME.fullmatch(name):
            raise PluginError("plugin.bad-name", place, **named)
        if not isinstance(target, str) or not _TARGET.fullmatch(target):
            raise PluginError("plugin.bad-target", place, **named, target=repr(target))
        if not summary.strip():
            raise PluginError("plugin.no-summary", place, **named)
        if kind == "command" and group is None and name in COMMANDS:
            raise PluginError("plugin.built-in-command", place, name=name)
        if group is not None and group not in COMMAND_GROUPS:
            raise PluginError(
                "plugin.bad-command-group", place, name=name, group=group, known=", ".join(COMMAND_GROUPS)
            )
        qualified = f"{source.namespace}/{name}"
        if (kind, qualified) in buffer:
            raise PluginError(
                "plugin.registers-twice", place, **named, first=buffer[kind, qualified].target, second=target
            )
        buffer[kind, qualified] = Component(
            kind, qualified, target, summary, tuple(references), source.origin, source.version, group
        )

    return register
